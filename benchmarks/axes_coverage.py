"""What is converted of networks of sequences and volumes, and whether they run at random sizes: one row each.

    python -m benchmarks.axes_coverage [--monai FOLDER]

The networks of one axis and the own U-Net are those of the tests, with real tensors: outputs and gradients are finite,
gradients reach every alpha, and the frozen model returns the same. torchvision's video networks run on meta tensors, at
the size of their clips; so do MONAI's U-Nets, if `--monai` names a folder that has it (`pip install --no-deps --target
FOLDER monai`). Rows of benchmarks/results/axes_coverage.csv are written anew.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.coverage_rows import Case, write_rows
from dynpool.conversion.coverage import build_model
from tests.networks_of_axes import NETWORKS_1D, InceptionTime, UNet3d

RESULTS = Path(__file__).parent / "results" / "axes_coverage.csv"
VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--monai", type=Path)
    write_rows(cases(parser.parse_args().monai), RESULTS)


if __name__ == "__main__":
    main()
