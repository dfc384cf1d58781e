"""Sixty networks of many kinds, on which receptive fields are compared with gradients."""

from collections.abc import Sequence
from typing import NamedTuple

import timm
import torchvision
from torch import Tensor, nn

from dynpool.analysis.model_report.receptive_field import ReceptiveFieldReport, receptive_field
from tests.analysis.fields.oracle import Region, Shortest, image, layer_outputs, positive, region

__all__ = ["FAST", "NETWORKS", "Comparison", "build", "compare"]

# library.name: input pixels; small, so that borders are met, and odd for some
NETWORKS = {
    **{f"tv.{name}": 65 for name in ("vgg11", "vgg13_bn", "resnet18", "resnet34", "resnet50", "resnext50_32x4d")},
    **{
        f"tv.{name}": 96
        for name in ("squeezenet1_0", "squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5", "googlenet")
    },
    **{f"tv.{name}": 97 for name in ("mobilenet_v2", "mobilenet_v3_small", "densenet121", "regnet_x_400mf", "alexnet")},
    **{f"tv.{name}": 128 for name in ("efficientnet_b0", "convnext_tiny", "regnet_y_400mf", "wide_resnet50_2")},
    "tv.inception_v3": 139,
    "tv.swin_t": 128,
    "timm.mobilenetv4_conv_small": 96,
    "tv.fcn_resnet50": 65,
    "tv.deeplabv3_mobilenet_v3_large": 97,
    "tv.lraspp_mobilenet_v3_large": 96,
    **{
        f"timm.{name}": 64
        for name in ("resnet10t", "resnet26d", "resnetblur18", "seresnet18", "skresnet18", "ese_vovnet19b_dw")
    },
    **{f"timm.{name}": 96 for name in ("dla34", "res2net50_26w_4s", "hrnet_w18_small", "selecsls42", "cspresnet50")},
    **{
        f"timm.{name}": 96
        for name in ("tf_efficientnet_b0", "tf_mobilenetv3_small_minimal_100", "tf_efficientnetv2_b0")
    },
    **{
        f"timm.{name}": 95
        for name in ("tf_efficientnet_lite0", "mobilenetv1_100", "ghostnet_050", "dpn48b", "xception41")
    },
    **{
        f"timm.{name}": 96
        for name in ("repvgg_a0", "gernet_s", "regnetx_002", "hardcorenas_a", "fbnetc_100", "spnasnet_100")
    },
    **{f"timm.{name}": 96 for name in ("mixnet_s", "lcnet_050", "tinynet_e", "efficientnet_es", "legacy_xception")},
    **{
        f"timm.{name}": 64
        for name in ("vit_tiny_patch16_224", "poolformer_s12", "convnextv2_atto", "inception_next_atto")
    },
}  # fmt: skip

# those of which the suite runs every layer; `python -m benchmarks.field_exactness` runs all
FAST = (
    *("tv.resnet18", "tv.squeezenet1_1", "tv.shufflenet_v2_x0_5", "tv.alexnet"),
    *("timm.resnetblur18", "timm.tf_mobilenetv3_small_minimal_100", "timm.lcnet_050"),
    *("timm.resnet10t", "timm.repvgg_a0"),
)


class Comparison(NamedTuple):
    """How often a report and gradients were compared, and where they differ."""

    layers: int
    positions: int
    regions: int
    shortest: int
    mismatches: tuple[str, ...]


def build(name: str) -> nn.Module:
    """A network by library and name, with weights."""
    library, _, model = name.partition(".")
    if library == "timm":
        return timm.create_model(model, **({"img_size": 64} if model.startswith("vit") else {}))
    options = {"weights_backbone": None} if any(k in model for k in ("fcn", "deeplab", "lraspp")) else {}
    if model in ("googlenet", "inception_v3"):
        options |= {"init_weights": False, "aux_logits": False}  # type: ignore[dict-item]
    return torchvision.models.get_model(model, weights=None, **options)


def compare(model: nn.Module, size: Sequence[int]) -> Comparison:
    """What every layer of a network sees by the report, beside what gradients see, at corners and the middle.

    Pixels really seen are compared at all positions. The regions by the recurrence are where they lie inside the image
    and the recurrence is about whole pixels: aligned paths, whole strides, no global path. So are r_max and padding,
    which the regions are made of. r_min is compared with what the centre of a layer sees after all longer branches
    are cut, where that is inside the image.
    """
    report = receptive_field(model, size)
    x = image(size)
    own = {name for name, module in model.named_modules() if not any(module.children())}  # and no more than the layer
    names = [row.name for row in report.layers if row.name in own]
    outputs = layer_outputs(positive(model), x, names)
    positions = regions = 0
    wrong: list[str] = []
    for row in report.layers:
        out = outputs.get(row.name)
        if out is None or tuple(out.shape) != row.shape:  # called as a function, or wrapped by a resize of its module
            continue
        for at in _positions(out):
            truth = region(out, x, at)
            positions += 1
            if report.seen(row.name, at) != truth:
                wrong.append(f"{row.name} at {at} sees {truth}, by the report {report.seen(row.name, at)}")
            if _whole(report, row.name) and _inside(row.region(at), size):
                regions += 1
                if row.region(at) != truth:
                    wrong.append(f"{row.name} at {at} sees {truth}, by the recurrence {row.region(at)}")
    shortest = 0
    for axis in range(len(size) - 1):
        compared, missed = _compare_shortest(report, model, names, axis)
        shortest += compared
        wrong += missed
    return Comparison(len(outputs), positions, regions, shortest, tuple(wrong))


def _compare_shortest(
    report: ReceptiveFieldReport, model: nn.Module, names: Sequence[str], axis: int
) -> tuple[int, list[str]]:
    """Of how many layers r_min was compared along an axis, and where it differs."""
    n = report.input_size[1 + axis]
    x = image(report.input_size)
    outputs = layer_outputs(model, x, names, Shortest(x, axis))
    compared, wrong = 0, []
    for row in report.layers:
        out, r_min = outputs.get(row.name), row.r_min[axis]
        if out is None or tuple(out.shape) != row.shape or not float(r_min).is_integer():
            continue
        ends = region(out, x, tuple(n // 2 for n in out.shape[2:]))[axis]
        if ends is None or ends[0] == 0 or ends[1] == n - 1 or r_min > n:  # cut off at the border
            continue
        compared += 1
        if ends[1] - ends[0] + 1 != r_min:
            wrong.append(f"{row.name}, axis {axis}: the shortest path sees {ends[1] - ends[0] + 1}, r_min is {r_min}")
    return compared, wrong


def _positions(out: Tensor) -> list[tuple[int, ...]]:
    places = [
        tuple(0 for _ in out.shape[2:]),
        tuple(n // 2 for n in out.shape[2:]),
        tuple(n - 1 for n in out.shape[2:]),
    ]
    return sorted(set(places))


def _whole(report: ReceptiveFieldReport, name: str) -> bool:
    row = next(r for r in report.layers if r.name == name)
    own = all(float(v).is_integer() for v in (*row.effective_stride, *row.effective_padding, *row.stride))
    return report.aligned and row.aligned and own


def _inside(found: Region | tuple[tuple[float, float], ...], size: Sequence[int]) -> bool:
    pairs = zip(found, size[1:], strict=True)
    return all(pair is not None and pair[0] >= 0 and pair[1] < n for pair, n in pairs)
