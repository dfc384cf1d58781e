"""dynpool inspect: figures kept in the runs' folders, a page for all of them, one-line errors."""

import json

import pytest
import torch

from dynpool.analysis.representations.hooked import HookedModel
from dynpool.cli import main
from dynpool.training.loop import train
from tests.analysis.representations.small import network
from tests.dynpool.cli.printed import document
from tests.dynpool.training.image_folders import image_folder
from tests.dynpool.training.runs import tiny_run

ONE = ["--workers", "1"]
MODEL = "tests.analysis.representations.small:network"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "both"
    for method, seed in (("human", 0), ("human", 1), ("dynopool", 0)):
        train(tiny_run(folder / f"{method}-seed{seed}", f"--method={method}", "--epochs=1", f"--seed={seed}"))
    return folder


def errors(capsys):
    return capsys.readouterr().err.strip().splitlines()


def test_runs_are_inspected_and_kept(comparison, capsys):
    assert main(["inspect", str(comparison), *ONE]) == 0
    out = capsys.readouterr().out
    assert "human, seed 0\n" in out
    assert "dynopool, seed 0: " in out
    assert "9 probes, all converged" in out or "12 probes, all converged" in out
    assert f"page: {comparison / 'inspection' / 'inspection.html'}" in out
    kept = comparison / "dynopool-seed0" / "inspection"
    assert {"inspection.json", "inspection.csv", "made_from.json"} <= {path.name for path in kept.iterdir()}
    before = (kept / "inspection.json").read_bytes()

    assert main(["inspect", str(comparison), *ONE]) == 0  # nothing is measured again
    assert "dynopool, seed 0 (kept from before)" in capsys.readouterr().out
    assert (kept / "inspection.json").read_bytes() == before

    assert main(["inspect", str(comparison), *ONE, "--json"]) == 0
    found = document(capsys)
    assert [*found["networks"]] == ["human, seed 0", "human, seed 1", "dynopool, seed 0"]
    own = found["networks"]["dynopool, seed 0"]
    assert {k: v for k, v in own.items() if k not in ("pruning", "hessian")} == json.loads(before)
    assert found["agreement"] is not None
    assert main(["inspect", str(comparison), *ONE, "--quiet"]) == 0
    assert "page:" not in capsys.readouterr().out

    (kept / "inspection.json").write_bytes(before[: len(before) // 2])  # a damaged one is measured again
    assert main(["inspect", str(comparison), "--workers", "2"]) == 0
    out = capsys.readouterr().out
    assert "human, seed 0 (kept from before)" in out
    assert "dynopool, seed 0 (kept" not in out
    assert (kept / "inspection.json").read_bytes() == before


def test_pruning_curvature_and_similarity_on_request(comparison, tmp_path, capsys):
    options = ["--saturation", "--images", "40", "--pruning", "--amounts", ".5", "--hessian", "--eigenvalues", "2"]
    options += ["--hessian-images", "20", "--cka", "--out", str(tmp_path), *ONE]
    assert main(["inspect", str(comparison), *options]) == 0
    out = capsys.readouterr().out
    for said in ("the 2 largest eigenvalues", "global magnitude pruning", "human: seed 0 and seed 1\nlayer of a"):
        assert said in out
    run = comparison / "human-seed0" / "inspection"
    assert json.loads((run / "pruning" / "pruning.json").read_text())["rows"][0]["score_after"] is not None
    assert (run / "hessian" / "before-training" / "hessian.csv").exists()
    assert (tmp_path / "cka" / "human-seed0--human-seed1" / "cka.json").exists()
    page = (tmp_path / "inspection.html").read_text()
    assert all(words in page for words in ("<h2>Pruning</h2>", "<h2>Curvature</h2>", "<h2>Similarity of seeds</h2>"))
    assert main(["inspect", str(comparison), *options]) == 0
    assert capsys.readouterr().out.count("(kept from before)") == 4


def test_parts_are_measured_on_request(comparison, tmp_path, capsys):
    run = comparison / "human-seed0"
    options = ["--saturation", "--images", "40", "--layers", "0", "4", "--out", str(tmp_path / "page")]
    assert main(["inspect", str(run), *options]) == 0
    rows = json.loads((run / "inspection" / "inspection.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["0", "4"]
    assert all(row["probe_accuracy"] is None and row["saturation"] > 0 for row in rows)
    assert (tmp_path / "page" / "inspection.html").exists()
    out = capsys.readouterr().out
    assert "40 held-out images" in out
    assert "no probes were fitted" in out
    assert out.count("the tail was not measured") + out.count("The tail was not measured") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layers", "5x"], "has no layer '5x'"),
        (["--heatmaps", "44"], "heatmaps: the Sequential has no layer '44'; did you mean '4'"),
        (["--images", "0"], "--images: '0'; allowed: a whole number above 0"),
        (["--images", "3"], "3 images for 7 classes"),
        (["--tolerance", "1"], "--tolerance: '1'; allowed: a number above 0 and below 1"),
        (["--heatmap", "0"], "unknown option '--heatmap'; did you mean '--heatmaps'?"),
        (["--cka"], "--cka compares two seeds of a method, and no method has two runs here"),
        (["--prefix", "model."], "--prefix requires --checkpoint"),
    ],
)
def test_wrong_options_are_one_line(options, said, comparison, capsys):
    assert main(["inspect", str(comparison / "human-seed0"), *options]) == 2
    (line,) = errors(capsys)
    assert said in line


def test_what_is_no_run_is_named(tmp_path, comparison, capsys):
    assert main(["inspect"]) == 2
    assert "needs a RUN or more" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "none")]) == 2
    assert "no such run folder" in capsys.readouterr().err
    for path in (comparison / "human-seed0" / "checkpoints").iterdir():
        path.rename(path.with_suffix(".gone"))
    try:
        assert main(["inspect", str(comparison / "human-seed0")]) == 2
        assert "has no checkpoint yet" in capsys.readouterr().err
    finally:
        for path in (comparison / "human-seed0" / "checkpoints").iterdir():
            path.rename(path.with_suffix(".pt"))


def test_no_memory_left_and_ctrl_c_keep_what_was_measured(comparison, capsys, monkeypatch):
    options = ["inspect", str(comparison), "--saturation", "--images", "60", *ONE]
    calls = []
    whole = HookedModel.__call__

    def failing(error):
        def call(self, images):
            calls.append(1)
            if len(calls) > 4:  # the first run takes one for its layers and one of its batch, on each set
                raise error
            return whole(self, images)

        return call

    monkeypatch.setattr(HookedModel, "__call__", failing(MemoryError("no memory left on cpu for 60 images")))
    assert main(options) == 2
    (line,) = errors(capsys)
    assert "no memory left on cpu for 60 images; what was measured before is kept" in line
    monkeypatch.setattr(HookedModel, "__call__", failing(KeyboardInterrupt))
    calls[:] = [1] * 4
    assert main(options) == 130
    assert errors(capsys) == ["dynpool: interrupted; what was measured is kept: the same command continues"]
    monkeypatch.undo()
    assert main(options) == 0
    assert capsys.readouterr().out.count("(kept from before)") == 1


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Words of a command on a checkpoint and a folder of images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image_folder(tmp_path / "data")
    torch.save(network().state_dict(), tmp_path / "net.pt")
    words = ["inspect", "--checkpoint", str(tmp_path / "net.pt"), MODEL, str(tmp_path / "data")]
    return [*words, "--input-size", "1,12,12", "--out", str(tmp_path / "out")]


def test_a_checkpoint_is_inspected_on_a_folder_of_images(checkpoint, tmp_path, capsys):
    assert main([*checkpoint, "--pruning", "--fine-tune", "0", "--hessian", "--eigenvalues", "2", "--probes"]) == 0
    out = capsys.readouterr().out
    assert f"{MODEL}\nlayer" in out
    assert "36 held-out images" in out
    assert "images are normalised by the moments of folder" in out
    assert {"inspection.json", "inspection.html", "pruning", "hessian"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    assert main([*checkpoint, "--pruning", "--fine-tune", "0", "--hessian", "--eigenvalues", "2", "--probes"]) == 0
    assert f"{MODEL} (kept from before)" in capsys.readouterr().out


def test_a_checkpoint_needs_its_model_images_and_size(checkpoint, tmp_path, capsys):
    for words, said in (
        (checkpoint[:4], "needs MODEL and DATA_FOLDER"),
        (checkpoint[:5], "needs --input-size"),
        ([*checkpoint, "--cka"], "--cka compares two runs"),
        ([*checkpoint, "--pruning"], "add --fine-tune 0"),
        ([*checkpoint[:4], str(tmp_path / "none"), *checkpoint[5:]], "no such folder"),
        ([*checkpoint[:3], "tests.nothing:net", *checkpoint[4:]], "there is no module 'tests.nothing'"),
    ):
        assert main(words) == 2
        (line,) = errors(capsys)
        assert said in line


@pytest.mark.parametrize(
    ("classes", "images", "options", "said"),
    [
        (4, 12, [], "the label 3 in batch 0, but the model has 3 outputs: it was trained on other classes"),
        (1, 12, [], "at least two are needed"),
        (3, 12, ["--images", "2"], "2 images for 3 classes"),
        (3, 12, ["--input-size", "3,12,12"], "cannot run on images of 3x12x12"),
        (3, 12, ["--layers", "13"], "layers: the Sequential has no layer '13'; did you mean '3'"),
        (3, 12, ["--memory", "1", "--images", "36", "--heatmaps", "12"], "maps: layer '12' gives shape"),
    ],
)
def test_other_data_than_the_network_was_trained_on(tmp_path, monkeypatch, capsys, classes, images, options, said):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = image_folder(tmp_path / "data", classes, images)
    torch.save(network().state_dict(), tmp_path / "net.pt")
    words = ["inspect", "--checkpoint", str(tmp_path / "net.pt"), MODEL, str(root), "--input-size", "1,12,12"]
    assert main([*words, "--out", str(tmp_path / "out"), *options]) == 2
    (line,) = errors(capsys)
    assert said in line


def test_weights_that_are_not_finite_are_named(checkpoint, tmp_path, capsys):
    state = network().state_dict()
    state["4.weight"][0] = torch.nan
    torch.save(state, tmp_path / "net.pt")
    assert main(checkpoint) == 2
    (line,) = errors(capsys)
    assert "layer '4' gives NaN or infinite activations in batch 0" in line
