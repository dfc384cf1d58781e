"""Test conversion on whole libraries of models: what is converted, tied, pinned, left alone and why, and what runs.

By default everything runs on meta tensors, so that no weights are allocated. Each model is converted, given random
alphas that differ between height and width, and run forward and backward. Each row is appended to a CSV file when it is
finished; a restart continues with the models that have no row yet.
"""

from __future__ import annotations

import csv
import fnmatch
import math
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from dynpool.common.library_models import LIBRARIES, create_model, model_names
from dynpool.graph import check_input_size
from dynpool.resizers import set_alpha
from dynpool.resolution import resolution_tree, resolutions

from .api import convert
from .freezing import freeze
from .report import FIXED_OUTPUT, ConversionReport, ConversionRow, NothingToLearnError, conversion_report

__all__ = ["COLUMNS", "SPOT_CHECKS", "CoverageRow", "cover", "coverage_names", "run_coverage", "summarize"]

Make = Callable[[], nn.Module]
LIMIT = 120.0  # seconds


@dataclass(frozen=True)
class CoverageRow:
    """One model: its status, and counts of its resizers by outcome.

    `status` is "runs" (converted, forward and backward run at random sizes), "fails" (it does not run), "refused"
    (there is nothing to learn), "no convolution", "too slow", or "error". `pinned` counts resizers held at their sizes;
    `why` has the reasons of what is pinned or left alone, most frequent first. `input_size` is "own", or that of all
    models in pixels, such as "3x64x64"; `device` and `limit` in seconds are where and for how long the model was run.
    """

    model: str
    status: str
    resizers: int = 0
    resolutions: int = 0
    converted: int = 0
    tied: int = 0
    follows: int = 0
    pinned: int = 0
    left_alone: int = 0
    seconds: float = 0.0
    why: str = ""
    message: str = ""
    input_size: str = "own"
    device: str = "meta"
    limit: float = LIMIT


COLUMNS = tuple(f.name for f in fields(CoverageRow))

# small models of forty families, for passes with real tensors
SPOT_CHECKS: tuple[str, ...] = (
    *(
        f"timm:{name}"
        for name in "resnet18 resnetv2_50 resnext50_32x4d seresnet33ts resnest14d res2net50_26w_4s skresnet18 dla34 "
        "dpn48b densenet121 vgg11_bn regnety_002 efficientnet_b0 tf_efficientnetv2_b0 mobilenetv2_100 "
        "mobilenetv3_small_100 mobilenetv4_conv_small ghostnetv2_100 fbnetv3_b mixnet_s rexnet_100 lcnet_050 "
        "hardcorenas_a xception41 inception_v3 nasnetalarge hrnet_w18_small cspdarknet53 selecsls42 dm_nfnet_f0 "
        "repvgg_a0 tresnet_m convnext_atto inception_next_atto mobilevit_xs maxvit_pico_rw_256 pvt_v2_b0 "
        "halonet26t starnet_s1 lowformer_b0".split()
    ),
    "torchvision:googlenet",
    "torchvision:shufflenet_v2_x0_5",
    "torchvision:deeplabv3_mobilenet_v3_large",
)


def coverage_names(*patterns: str) -> list[str]:
    """Names of the models of timm and torchvision that match any pattern, as "timm:NAME" and "torchvision:NAME"."""
    names = [f"{library}:{n}" for library in LIBRARIES for n in model_names(library)]
    return [n for n in names if any(fnmatch.fnmatch(x, p) for x in (n, n.partition(":")[2]) for p in patterns or "*")]


def build_model(name: str, device: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A model of timm or torchvision, by its name with the library, and its default input size."""
    try:
        with torch.device(device):
            return _create(name)
    except RuntimeError:  # a constructor that reads values of tensors needs real ones
        net, size = _create(name)
        return net.to(device), size


def _create(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    library, _, model = name.partition(":")
    slow = library == "torchvision" and model in ("googlenet", "inception_v3")  # to initialise
    net: Any = create_model(name, **{"init_weights": False} if slow else {})
    if library == "timm":
        return net, tuple(net.pretrained_cfg.get("input_size", (3, 224, 224)))
    if model in _CLIPS:
        return net, _CLIPS[model]
    return net, (3, 299, 299) if model.endswith("inception_v3") else (3, 224, 224)


# the clips of torchvision's video models, (channels, frames, height, width)
_CLIPS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), (3, 16, 112, 112)),
    **dict.fromkeys(("s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"), (3, 16, 224, 224)),
}


class _TooSlowError(BaseException):
    """Raised when the time limit is over; not an `Exception`, so that no handler in between catches it."""


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise `_TooSlowError` in the main thread after some seconds, if the system supports alarms."""

    def ring(signum: int, frame: Any) -> None:
        raise _TooSlowError

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _randomize(model: nn.Module, seed: str) -> None:
    """Alphas between 0.75 and 1.35 times the original ones, independently by axis, within their bounds."""
    draw = random.Random(seed)
    tree = resolution_tree(model)
    if tree is None:
        raise ValueError(f"model is a {type(model).__name__}, which has no tree of resolutions")
    for i, _, resizer in tree.learned:
        sizes = [max(2, round(n / draw.uniform(0.75, 1.35))) for n in tree.nodes[i].reference]
        values = resizer.values_for(tree.nodes[tree.nodes[i].parent or 0].reference, tuple(sizes))
        resizer.make_room(resizer.strides(values))
        set_alpha(resizer, values)


def _reasons(rows: Iterable[ConversionRow]) -> str:
    """The reasons why resizers were not converted, most frequent first, without layer names."""
    why = Counter(r.why.partition(" in ")[0] for r in rows if r.why)
    return "; ".join(f"{k} x{v}" for k, v in why.most_common(4))


def cover(
    name: str, model: nn.Module, input_size: tuple[int, ...], *, device: str = "meta", limit: float = LIMIT
) -> CoverageRow:
    """The row of one model, after conversion and a forward and backward pass at random sizes.

    Args:
        name: name in the row.
        model: on the meta device, or on `device`.
        input_size: (C, H, W) in pixels.
        device: where to run. On a real one, outputs and gradients must be finite too, gradients must reach every alpha,
            and the frozen model must return the same values.
        limit: seconds after which the model is reported as too slow.
    """
    start = time.perf_counter()
    if not any(isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d) for m in model.modules()):
        return CoverageRow(name, "no convolution")
    report: ConversionReport | None = None
    status, message = "runs", ""
    try:
        with _limit(limit):
            try:
                learned = convert(model, input_size)
            except ValueError as error:
                why = _reasons(error.report.rows) if isinstance(error, NothingToLearnError) else ""
                took = round(time.perf_counter() - start, 1)
                return CoverageRow(name, "refused", seconds=took, why=why, message=str(error).splitlines()[0][:300])
            report = conversion_report(learned)
            _randomize(learned, name)
            _pass(learned, input_size, device)
    except _TooSlowError:
        status, message = "too slow", f"gave up after {limit:g} s"
    except Exception as error:  # noqa: BLE001 - a sweep records whatever a model raises
        status, message = "fails" if report is not None else "error", f"{type(error).__name__}: {error}"[:300]
    rows = report.rows if report is not None else ()
    pinned = [r for r in rows if r.status == "pinned"]
    left = [r for r in rows if r.status == "left alone" and r.why != FIXED_OUTPUT]
    counts = Counter(r.status for r in rows)
    return CoverageRow(
        name,
        status,
        sum(counts.values()),
        len({r.resolution for r in rows}),
        counts["converted"],
        counts["tied"],
        counts["follows"],
        len(pinned),
        len(left),
        round(time.perf_counter() - start, 1),
        _reasons([*pinned, *left]),
        message.replace("\n", " "),
    )


def _pass(model: nn.Module, input_size: tuple[int, ...], device: str) -> None:
    real = device != "meta"
    x = torch.randn(2, *input_size, device=device) if real else torch.empty(2, *input_size, device=device)
    out = _tensors(model(x))
    torch.stack([t.float().square().mean() for t in out]).sum().backward()
    if not real:
        return
    if not all(bool(t.isfinite().all()) for t in (*out, *(p.grad for p in model.parameters() if p.grad is not None))):
        raise FloatingPointError("an output or a gradient is not finite")
    idle = [
        name for name, found in resolutions(model).items() if found.alpha.grad is None or not found.alpha.grad.any()
    ]
    if idle:
        raise FloatingPointError(f"no gradient reaches the alpha of {', '.join(idle)}")
    model.eval()
    with torch.no_grad():
        for live, plain in zip(_tensors(model(x)), _tensors(freeze(model)(x)), strict=True):
            torch.testing.assert_close(plain, live, rtol=0, atol=1e-4 * float(live.abs().max()))


def _tensors(out: Any) -> list[Tensor]:
    return [t for t in tree_leaves(out) if isinstance(t, Tensor)]


def run_coverage(
    names: Sequence[str],
    out: Path,
    *,
    input_size: tuple[int, ...] | None = None,
    limit: float = LIMIT,
    device: str = "meta",
    say: Callable[[CoverageRow], None] = lambda row: None,
) -> list[CoverageRow]:
    """Test the named models that have no row in `out` yet; append a row to it as each is finished.

    Models that were too slow for a shorter limit are tried again.

    Args:
        names: names as returned by `coverage_names`.
        out: a CSV file, created if it does not exist.
        input_size: (C, H, W) in pixels for all models; None: the default of each model.
        limit: seconds that a model may take.
        device: where the models are made and run.
        say: called with every new row.

    Returns:
        all rows of the file.

    Raises:
        ValueError: for an invalid `input_size` or `limit`, or if `out` exists and is not a coverage file, or one of
            another `input_size` or `device`.
    """
    size = "own"
    if input_size is not None:
        input_size = check_input_size(input_size)
        size = "x".join(map(str, input_size))
    if not 0 < limit < math.inf:
        raise ValueError(f"limit must be a finite number of seconds above 0, got {limit}")
    rows = read_rows(out) if out.exists() else []
    for row in rows:
        if (row.input_size, row.device) != (size, device):
            raise ValueError(
                f"out is {out}, whose rows were made with input_size {row.input_size} on {row.device}, not {size} on "
                f"{device}: name another file"
            )
    done = {row.model for row in rows if row.status != "too slow" or row.limit >= limit}
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if file.tell() == 0:
            writer.writeheader()
        for name in names:
            if name in done:
                continue
            try:
                model, own = build_model(name, device)
            except (ImportError, RuntimeError, TypeError, ValueError) as error:
                row = CoverageRow(name, "error", message=f"cannot be built: {error}"[:300].replace("\n", " "))
            else:
                row = cover(name, model, input_size or own, device=device, limit=limit)
                del model
            row = replace(row, input_size=size, device=device, limit=limit)
            writer.writerow(asdict(row))
            file.flush()
            say(row)
    return read_rows(out)


def read_rows(path: Path) -> list[CoverageRow]:
    """The rows of a coverage file, of each model the last.

    Raises:
        ValueError: if it is not such a file, or if a row is damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = reader.fieldnames, list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"out is {path}, which is not a CSV file: {error}") from None
    if columns is not None and tuple(columns) != COLUMNS:
        raise ValueError(f"out is {path}, which is not a file of coverage rows: its columns are {', '.join(columns)}")
    kinds: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
    to_value = {f.name: kinds[str(f.type)] for f in fields(CoverageRow)}
    found: dict[str, CoverageRow] = {}
    for number, row in enumerate(rows, 1):
        try:
            found[row["model"]] = CoverageRow(**{name: to_value[name](value) for name, value in row.items()})
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"out is {path}, whose row {number} ({row['model']}) is damaged: remove it") from None
    return list(found.values())


def summarize(rows: Iterable[CoverageRow]) -> str:
    """A few lines: how many models of each status, with and without pins, and the reasons of the others."""
    rows = [r for r in rows if r.status != "no convolution"]
    free = [r for r in rows if r.status in ("runs", "fails") and not r.pinned]
    pinned = [r for r in rows if r.status in ("runs", "fails") and r.pinned]
    whole = [r for r in free if r.status == "runs" and not r.left_alone]
    lines = [f"{len(rows)} model{'s' * (len(rows) != 1)} with a convolution: " + _tally(r.status for r in rows)]
    lines.append(
        f"{len(free)} without pins: {sum(r.status == 'runs' for r in free)} run, {len(whole)} of them with every "
        "resizer converted"
    )
    lines.append(f"{len(pinned)} with pins: {sum(r.status == 'runs' for r in pinned)} run with their pins kept")
    for status in ("refused", "fails", "too slow", "error"):
        why = Counter((r.why or r.message)[:100] for r in rows if r.status == status)
        lines += [f"  {status}: {n} x {text}" for text, n in why.most_common(8)]
    return "\n".join(lines)


def _tally(values: Iterable[str]) -> str:
    return ", ".join(f"{n} {value}" for value, n in Counter(values).most_common())
