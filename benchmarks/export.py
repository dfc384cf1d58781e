"""Exports frozen models with torch.export, ONNX (TorchDynamo, run by onnxruntime) and torch.compile.

    python benchmarks/export.py [--models resnet18 ...] [--backend inductor] [--out benchmarks/results/export.csv]

Each model is converted, given other sizes, frozen and exported. The columns hold the largest difference of the logits
to the live model's, relative to the largest logit, or the error. Rows are written as they finish.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

import dynpool
from benchmarks.appending import append, check_columns

RESULTS = Path(__file__).parent / "results" / "export.csv"
COLUMNS = ["model", "size", "preserve", "frozen", "export", "onnx", "compile"]
FAMILIES = (
    "resnet18 vgg11 mobilenetv2_100 mobilenetv3_large_100 efficientnet_b0 tf_efficientnet_b0 densenet121 regnety_002 "
    "convnext_atto inception_v4 hrnet_w18_small repvgg_a0 resnetblur18 dpn68 cspresnet50"
).split()


def learned(name: str, size: tuple[int, int, int], preserve: bool) -> nn.Module:
    """A converted model whose sizes differ from the original's."""
    torch.manual_seed(0)
    model = dynpool.convert(timm.create_model(name), size, preserve=preserve).eval()
    wanted = {}
    for i, (resolution, found) in enumerate(dynpool.resolutions(model).items()):
        if found.size is not None and found.size[0] > 8 and i % 2:
            wanted[resolution] = (found.size[0] + 3, found.size[1] - 2)
    dynpool.set_sizes(model, wanted)
    return model


def relative(out: Tensor, live: Tensor) -> str:
    return f"{float((out - live).abs().max() / live.abs().max()):.1e}"


def by_export(frozen: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = torch.export.export(frozen, (x,)).module()(x)
    return result


def by_onnx(frozen: nn.Module, x: Tensor) -> Tensor:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(frozen, (x,), path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def by_compile(backend: str) -> Callable[[nn.Module, Tensor], Tensor]:
    def call(frozen: nn.Module, x: Tensor) -> Tensor:
        torch._dynamo.reset()
        result: Tensor = torch.compile(frozen, backend=backend, fullgraph=True)(x)
        return result

    return call


@torch.no_grad()
def measure(name: str, size: tuple[int, int, int], preserve: bool, backend: str) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name, "size": "x".join(map(str, size[1:])), "preserve": preserve}
    model = learned(name, size, preserve)
    x = torch.randn(2, *size)
    live = model(x)
    frozen = dynpool.freeze(model)
    row["frozen"] = relative(frozen(x), live)
    ways = {"export": by_export, "onnx": by_onnx, "compile": by_compile(backend)}
    for way, call in ways.items():
        try:
            row[way] = relative(call(frozen, x), live)
        except Exception as error:  # noqa: BLE001 - the error is the result
            row[way] = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=FAMILIES)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--preserve", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    check_columns(args.out, COLUMNS)
    for name in args.models:
        start = time.perf_counter()
        n = 139 if name.startswith("inception") else args.size
        row = measure(name, (3, n, n), args.preserve, args.backend)
        append(args.out, COLUMNS, [row])
        print(f"{row} ({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
