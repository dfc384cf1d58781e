"""Makes docs/gallery.md, its pictures, and the picture of the README: `make gallery`, about two minutes on two cores.

What training would take long for is drawn from committed rows (benchmarks/results), the rest from one short run on the
digits, trained here, and from untrained models.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from benchmarks import evidence
from dynpool.analysis import cka, compare_runs, hessian_eigenvalues, pruning_curve
from dynpool.analysis.common.style import to_png
from dynpool.cli import main
from dynpool.training import RunBatches, RunConfig, load_config, load_data, restored_model

DOCS = Path(__file__).parent
OUT = DOCS / "gallery"
WIDTH = 1000  # pixels of a picture at most; pages show 900
ROWS = DOCS.parent / "benchmarks" / "results" / "digits.csv"
NETWORK = "torchvision:resnet18"
INTRO = """Every kind of picture that the library draws, made by `make gallery`. Some are elsewhere: several inspected networks side
by side in [Which layers work](representations.md#what-it-shows-on-the-digits), predictions beside masks and fields beside
objects in [Segmentation](howto/segmentation.md#where-should-the-pixels-of-an-hrnet-go), maps of clips in [Clips and
series](howto/clips_and_series.md#how-much-time-to-keep); `network.svg` needs Graphviz."""
RUN = "train configs/digits-plain.yaml --method dynopool --epochs 5"


@dataclass(frozen=True)
class Picture:
    """A picture of the page: how it is made, what it shows in one sentence, and its text for those who cannot see it."""

    file: str
    made_by: str
    caption: str
    alt: str


MODEL = [
    Picture("fields.png", f"dynpool analyze {NETWORK} --input-size 64", "r_min and r_max of every layer of a ResNet-18 against the input resolution (dashed): what is above it sees the whole image. In Python: `report.plot()`.", "Bars of the smallest and largest receptive field of each layer of a ResNet-18; the last layers exceed the dashed line of 64 pixels"),
    Picture("network.png", "report.plot(\"network\")", "The same layers as a graph, read in lines from left to right. Red: unproductive, the input of the layer already has a receptive field of the whole image. Orange: underutilized, only its output has.", "Boxes of the layers of a ResNet-18 joined by arrows; the last three-by-three convolutions are red"),
    Picture("image.png", "report.plot(\"image\")", "The fields of the centre units of some layers on an image, to scale. Solid: the longest path; dashed: the shortest. What lies beyond the image is padding.", "A photograph with rectangles around its centre, from a few pixels to several times the image"),
    Picture("effective.png", f"dynpool analyze {NETWORK} --input-size 64 --layers layer2.1.conv2 --effective", "The effective receptive field of one layer: where in the image its gradient is, here with initial weights.", "A map of gradients over the image, brightest in the middle, and its projections on both axes"),
]  # fmt: skip
OF_RUN = [
    Picture("run-sizes.png", "dynpool analyze --run RUN", "The learned sizes of the run, to scale.", "Squares of the feature maps of one run, from the input to the last one"),
    Picture("run-i_min.png", "dynpool analyze --run RUN", "I_min at each epoch, per axis, against the input resolution.", "Two lines over the epochs, the height and the width of I_min, and the input resolution dashed"),
    Picture("run-alphas.png", "dynpool analyze --run RUN", "The learned stride of each resolution at each epoch.", "A panel per resolution with lines of the vertical and horizontal stride over the epochs"),
    Picture("sensitivity.png", "dynpool sensitivity --run RUN --batches 4", "The loss with a few pixels more or less of each learned size; the arrow is the gradient that moves the size, with its signal to noise. [How to read it](sensitivity.md).", "A panel per resolution with the change of the loss over sizes around the present one, and arrows"),
    Picture("inspection-layers.png", "dynpool inspect RUN --heatmaps 4 --images 400", "Probe accuracy, saturation and receptive fields of each layer; unproductive layers on red. [What is measured](representations.md).", "Three aligned panels over the layers of a network: accuracy of probes, saturation, receptive fields"),
    Picture("inspection-heatmaps.png", "dynpool inspect RUN --heatmaps 4 --images 400", "The accuracy of a probe at each position of a layer's map.", "A grid of cells, brighter where a probe at that position is more accurate"),
    Picture("cka.png", "cka(initial, trained, batches).plot()", "CKA of all pairs of layers, here of the network before and after training; lines where the border layers are.", "A matrix of similarities of the layers of two networks"),
    Picture("pruning.png", "pruning_curve(model, amounts, evaluate).plot()", "One-shot global pruning: the score against the share of weights removed, and the sparsity of each layer.", "Left a curve of accuracy that falls as more weights are removed, right lines of sparsity per layer"),
    Picture("hessian.png", "hessian_eigenvalues(model, batches, loss, k=10).plot()", "The largest eigenvalues of the loss's Hessian by rank.", "Points of eigenvalues that fall with their rank, on a logarithmic axis"),
]  # fmt: skip
COMPARED = [
    Picture("accuracy_vs_gmacs.png", "dynpool report RUN...", "Accuracy against cost, a point per run and a ring for the mean of a method. These pictures, and that of the strides over the epochs, are in the report that `dynpool compare` writes.", "Points of accuracy over MMACs, one colour and marker per method, with the Pareto front"),
    Picture("pairs.png", "dynpool report RUN...", "Differences between pairs of methods, seed by seed, with their intervals; grey: the margin of equivalence.", "A line per pair with its mean difference and interval, around zero and a grey band"),
    Picture("sizes.png", "dynpool report RUN...", "Feature-map sizes of all methods, to scale; the designed ones dashed.", "Rows of rectangles, one row per method and seed, beside the dashed designed sizes"),
    Picture("i_min.png", "dynpool report RUN...", "I_min over the epochs, against the input resolution.", "Lines of I_min over the epochs for every method, height and width apart"),
    Picture("accuracy.png", "dynpool report RUN...", "Accuracy over the epochs, a thin line per run and a thick one for the mean.", "Lines of test accuracy over the epochs for every method"),
]  # fmt: skip


def save(figure: Figure | bytes | Path, path: Path) -> None:
    """A picture as a PNG of at most `WIDTH` pixels."""
    if isinstance(figure, Figure):
        figure = to_png(figure)
    content = figure.read_bytes() if isinstance(figure, Path) else figure
    image = Image.open(io.BytesIO(content)).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    image.save(path, optimize=True)


def command(text: str) -> None:
    """Run a `dynpool` command.

    Raises:
        RuntimeError: if it fails.
    """
    if code := main(shlex.split(text)):
        raise RuntimeError(f"dynpool {text} ended with {code}")


def draw_model(work: Path) -> None:
    torch.manual_seed(0)
    command(f"analyze {NETWORK} --input-size 64 --layers layer2.1.conv2 --effective --out {work}")
    save(work / "effective.png", OUT / "effective.png")
    command(f"analyze {NETWORK} --input-size 64 --out {work}")
    for name in ("fields", "network", "image"):
        save(work / f"{name}.png", OUT / f"{name}.png")


def draw_run(work: Path) -> None:
    command(f"{RUN} --out {work / 'run'}")
    draw_commands(work / "run")
    draw_trained(work / "run")


def draw_commands(run: Path) -> None:
    """What the commands draw of a run."""
    command(f"analyze --run {run}")
    command(f"sensitivity --run {run} --batches 4")
    command(f"inspect {run} --heatmaps 4 --images 400")
    for name in ("sizes", "i_min", "alphas"):
        save(run / "analyze" / f"{name}.png", OUT / f"run-{name}.png")
    save(run / "sensitivity" / "sensitivity.png", OUT / "sensitivity.png")
    for name in ("layers", "heatmaps"):
        save(run / "inspection" / f"inspection-{name}.png", OUT / f"inspection-{name}.png")


def draw_trained(run: Path) -> None:
    """What functions draw of the network of a run."""
    model, _ = restored_model(run)
    config, _ = load_config(RunConfig, run / "config.yaml")
    batches = list(RunBatches(load_data(config.data).train, config, 4))
    initial, _ = restored_model(run)
    for module in initial.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    save(cka(initial, model, [x for x, _ in batches]).plot(), OUT / "cka.png")
    save(
        pruning_curve(model, (0.3, 0.5, 0.7, 0.8, 0.9, 0.95), accuracy(batches)).plot(score="accuracy"),
        OUT / "pruning.png",
    )
    few = [(x[:16], y[:16]) for x, y in batches[:1]]
    save(hessian_eigenvalues(model, few, nn.functional.cross_entropy, k=10).plot(), OUT / "hessian.png")


def accuracy(batches: list[tuple[Tensor, Tensor]]) -> Callable[[nn.Module], float]:
    """A function that gives the accuracy of a model on batches."""

    @torch.no_grad()
    def evaluate(model: nn.Module) -> float:
        model.eval()
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
        return right / sum(len(y) for _, y in batches)

    return evaluate


def draw_comparison() -> None:
    figures = evidence.comparison("digits-controls-plain").plot()
    for picture in COMPARED:
        save(figures[Path(picture.file).stem], OUT / picture.file)


def draw_readme(work: Path) -> None:
    """The sizes of all methods of `make compare` with seed 0, from the rows of benchmarks/digits.py."""
    with ROWS.open(newline="", encoding="utf-8") as file:
        runs = [r for r in csv.DictReader(file) if (r["variant"], r["kind"], r["seed"]) == ("tile", "run", "0")]
    rows = [
        dict(r, run=r["folder"], input_size=json.dumps([1, *json.loads(r["sizes"])["input"]]), data="{}", train_loss="",
             gmacs_budget="null", epoch=epoch, epochs=r["epochs"], test_accuracy=r["accuracy"], seconds="")
        for r in runs for epoch in ("0", r["epochs"])
    ]  # fmt: skip
    evidence.restore(rows, {}, work)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows between the first and the last epoch are missing
        save(compare_runs([work]).plot()["sizes"], DOCS / "sizes.png")


def page() -> str:
    """The text of docs/gallery.md."""
    sections = [
        ("A model", f"From `dynpool analyze`, here of an untrained ResNet-18 ({NETWORK}) at 64×64 pixels.", MODEL),
        ("A training run", f"From one short run on the digits: `dynpool {RUN}`.", OF_RUN),
        ("A comparison", "From the committed rows behind [the evidence](evidence.md) (plain digits, five seeds).", COMPARED),
    ]  # fmt: skip
    lines = ["# Gallery", "", INTRO]
    for head, intro, pictures in sections:
        lines += ["", f"## {head}", "", intro]
        for picture in pictures:
            lines += ["", f"![{picture.alt}](gallery/{picture.file})", "", f"{picture.caption} *`{picture.made_by}`*"]
    return "\n".join(lines) + "\n"


def make() -> None:
    """Make the pictures and the page."""
    OUT.mkdir(exist_ok=True)
    draw_comparison()
    (DOCS / "gallery.md").write_text(page(), encoding="utf-8")
    for draw in (draw_readme, draw_model, draw_run):
        with tempfile.TemporaryDirectory() as work:
            draw(Path(work))


if __name__ == "__main__":
    make()
