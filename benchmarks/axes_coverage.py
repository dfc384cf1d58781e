"""What is converted of networks of sequences and volumes, and whether they run at random sizes: one row each.

    python benchmarks/axes_coverage.py [--monai FOLDER]

The networks of one axis and the own U-Net are those of the tests, with real tensors: outputs and gradients are finite,
gradients reach every alpha, and the frozen model returns the same. torchvision's video networks run on meta tensors, at
the size of their clips; so do MONAI's U-Nets, if `--monai` names a folder that has it (`pip install --no-deps --target
FOLDER monai`). Rows of benchmarks/results/axes_coverage.csv are written anew.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, installed or not

from dynpool.conversion.coverage import COLUMNS, CoverageRow, build_model, cover
from tests.networks_of_axes import NETWORKS_1D, InceptionTime, UNet3d

RESULTS = Path(__file__).parent / "results" / "axes_coverage.csv"
VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b")
Case = tuple[str, nn.Module, tuple[int, ...], str]  # name, model, input size, device


def cases(monai: Path | None) -> Iterator[Case]:
    torch.manual_seed(0)
    for name, (make, size, _) in NETWORKS_1D.items():
        yield f"tests:{name}", make(), size, "cpu"
    yield "tests:inception without pools", InceptionTime(pools=False), (2, 120), "cpu"
    yield "tests:unet3d", UNet3d(), (1, 8, 12, 16), "cpu"
    yield "tests:unet3d interpolated", UNet3d(transposed=False), (1, 8, 12, 16), "cpu"
    for name in VIDEO:
        yield f"torchvision:{name}", *build_model(f"torchvision:{name}", "meta"), "meta"
    if monai is not None:
        sys.path.insert(0, str(monai))
        nets = importlib.import_module("monai.networks.nets")
        with torch.device("meta"):
            shape = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
            wide = {"channels": (16, 32, 64, 128), "strides": (2, 2, 2), "num_res_units": 2}
            yield "monai:UNet", nets.UNet(**shape, **wide), CT, "meta"
            yield "monai:BasicUNet", nets.BasicUNet(**shape), CT, "meta"
            yield "monai:SegResNet", nets.SegResNet(**shape), CT, "meta"
            steps = {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3}
            yield "monai:DynUNet", nets.DynUNet(**shape, **steps), CT, "meta"


CT = (1, 64, 96, 96)  # part of a scan


def row(name: str, model: nn.Module, size: tuple[int, ...], device: str) -> CoverageRow:
    return replace(cover(name, model, size, device=device), input_size="x".join(map(str, size)), device=device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--monai", type=Path)
    options = parser.parse_args()
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for case in cases(options.monai):
            found = row(*case)
            writer.writerow(asdict(found))
            file.flush()
            print(found.model, found.status, found.converted, found.pinned, found.left_alone, found.why, found.message)


if __name__ == "__main__":
    main()
