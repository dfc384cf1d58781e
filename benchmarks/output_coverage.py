"""What is converted of models that return more than a tensor: transformers' dataclasses, timm's lists of features.

    pip install transformers
    python -m benchmarks.output_coverage

Models have random weights and few channels; outputs and gradients are finite, gradients reach every alpha, and the
frozen model returns the same. Rows of benchmarks/results/output_coverage.csv are written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
import transformers

from benchmarks.coverage_rows import Case, write_rows

RESULTS = Path(__file__).parent / "results" / "output_coverage.csv"
SIZE = (3, 64, 64)

STAGES = {"hidden_sizes": [16, 32, 64, 64], "depths": [1, 1, 1, 1]}
HEADS = {"num_attention_heads": [1, 2, 2, 4], "hidden_sizes": [16, 32, 32, 64], "depths": [1, 1, 1, 1]}
TOKENS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
WINDOWS = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 2}
LEVIT = {"hidden_sizes": [16, 32, 48], "num_attention_heads": [1, 2, 3], "depths": [1, 1, 1], "key_dim": [8, 8, 8]}
NECK = {"hidden_sizes": [32, 48, 64], "neck_hidden_sizes": [8, 16, 24, 32, 48, 64, 128]}

# family: (class without its family, options of its configuration)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "ResNet": ("ForImageClassification", {**STAGES, "embedding_size": 16}),
    "RegNet": ("ForImageClassification", {**STAGES, "embedding_size": 16, "groups_width": 8}),
    "ConvNext": ("ForImageClassification", STAGES),
    "ConvNextV2": ("ForImageClassification", STAGES),
    "PoolFormer": ("ForImageClassification", {"hidden_sizes": [16, 32, 32, 64], "depths": [1, 1, 1, 1]}),
    "MobileNetV2": ("ForImageClassification", {}),
    "MobileViT": ("ForImageClassification", {**NECK, "image_size": 64}),
    "Levit": ("ForImageClassification", {**LEVIT, "image_size": 64}),
    "Pvt": ("ForImageClassification", {**HEADS, "image_size": 64}),
    "Swin": ("ForImageClassification", {**WINDOWS, "image_size": 64}),
    "Data2VecVision": ("ForImageClassification", {**TOKENS, "image_size": 64}),
    "ViT": ("ForImageClassification", {**TOKENS, "image_size": 64}),
    "CLIPVision": ("Model", {**TOKENS, "image_size": 64}),
    "Segformer": ("ForSemanticSegmentation", {**HEADS, "decoder_hidden_size": 32}),
    "GLPN": ("ForDepthEstimation", {**HEADS, "decoder_hidden_size": 16}),
}
FEATURES = ("resnet18", "efficientnet_b0", "convnext_atto", "hrnet_w18_small")


def cases() -> Iterator[Case]:
    torch.manual_seed(0)
    for family, (rest, options) in MODELS.items():
        configuration = getattr(transformers, f"{family}Config")(**options)
        make: Callable[[Any], Any] = getattr(transformers, family + rest)
        yield f"transformers:{family}{rest}", make(configuration), SIZE, "cpu"
    levels = [f"stage{level}" for level in range(1, 5)]
    backbone = transformers.ConvNextConfig(**STAGES, out_features=levels)
    options = {"backbone_config": backbone, "hidden_size": 32, "auxiliary_in_channels": 64}
    upernet = transformers.UperNetForSemanticSegmentation(transformers.UperNetConfig(**options))
    yield "transformers:UperNetForSemanticSegmentation", upernet, SIZE, "cpu"
    for name in FEATURES:
        yield f"timm:{name} (features_only)", timm.create_model(name, features_only=True), SIZE, "cpu"


if __name__ == "__main__":
    write_rows(cases(), RESULTS)
