"""The published edits give the printed I_min and GMACs, and the search does at least as well."""

import pytest
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.baselines import published_edits, refine
from tests.baselines.nets import chain, named, nasnet_a_mobile

# Richter and Pal, Tables 2, 4 and 5: network, edit, I_res, GMACs before and after (None: they do not follow from it)
ROWS = [
    ("tv.vgg19", "vgg19", 224, 19.71, 51.71),
    ("timm.mobilenetv1_100", "mobilenet_v1", 224, 0.59, 1.39),
    ("tv.mobilenet_v3_small", "mobilenet_v3_small", 224, 0.06, 0.18),
    ("timm.mobilenetv3_large_100", "mobilenet_v3_large", 224, 0.24, 0.38),
    ("tv.mnasnet1_0", "mnasnet", 224, 0.34, 0.73),
    ("nasnet_a_mobile", "nasnet_a_mobile", 224, 0.59, 2.35),
    ("timm.convnext_tiny", "convnext", 224, 4.46, 17.81),
    ("tv.convnext_base", "convnext", 224, 15.38, 61.45),
    ("timm.efficientnet_b0", "efficientnet", 224, 0.42, None),
    ("tv.efficientnet_b1", "efficientnet", 240, 0.74, 1.67),
    ("timm.efficientnet_b3", "efficientnet", 300, 1.96, 4.41),
    ("timm.efficientnet_b0", "efficientnet_b0_shorter_wider", 224, 0.42, None),
]


def build(name: str) -> nn.Module:
    return nasnet_a_mobile() if name == "nasnet_a_mobile" else named(name)


@pytest.mark.parametrize(("name", "edit", "i_res", "before", "after"), ROWS, ids=[f"{r[0]}-{r[1]}" for r in ROWS])
def test_rows_of_the_tables(name: str, edit: str, i_res: int, before: float, after: float | None) -> None:
    published = published_edits()[edit]
    refined, plan = refine(build(name), (3, i_res, i_res), edits=edit)
    assert plan.i_min_before == (published.i_min_before,) * 2
    assert plan.i_min_after == (published.i_min_after,) * 2
    assert plan.gmacs_before == pytest.approx(before, rel=0.12)
    if after is not None:
        assert plan.gmacs_after == pytest.approx(after, rel=0.12)
    assert receptive_field(refined, (3, i_res, i_res)).i_min == plan.i_min_after


# Appendix E; VGG-16's edit leaves I_min at 34 of 32 pixels
SMALL = [
    ("tv.resnet50", "resnet50_cifar", 32),
    ("tv.vgg16", "vgg16_cifar", 32),
    ("tv.mobilenet_v2", "mobilenet_v2_cifar", 32),
]


@pytest.mark.parametrize(("name", "edit", "i_res"), [r[:3] for r in ROWS if r[0] != "tv.convnext_base"] + SMALL)
def test_the_search_does_at_least_as_well(name: str, edit: str, i_res: int) -> None:
    model = build(name)
    _, by_hand = refine(model, (3, i_res, i_res), edits=edit)
    _, found = refine(model, (3, i_res, i_res))
    assert found.reached
    criteria = [(not p.reached, len(p.edits), i_res - p.i_min_after[0], p.gmacs_after) for p in (found, by_hand)]
    assert criteria[0] <= criteria[1]


# Appendix E: what is printed follows the fields in front of the layers
@pytest.mark.parametrize(
    ("name", "edit", "i_min", "printed"), [("tv.resnet50", "resnet50_cifar", 7, 6), ("tv.vgg16", "vgg16_cifar", 34, 30)]
)
def test_networks_for_cifar(name: str, edit: str, i_min: int, printed: int) -> None:
    refined, plan = refine(named(name), (3, 32, 32), edits=edit)
    assert plan.i_min_after == (i_min, i_min)
    layers = [row for row in receptive_field(refined, (3, 32, 32)).layers if row.kernel[0] > 1]
    assert max(max(row.r_min_in[0], row.kernel[0] * row.effective_stride[0]) for row in layers) == printed
    assert published_edits()[edit].i_min_after == printed


def test_an_edit_is_made_as_printed_where_i_min_stays_above_the_image() -> None:
    model = named("tv.vgg16")
    refined, plan = refine(model, (3, 32, 32), edits="vgg16_cifar")
    assert not plan.reached  # 34 at 32 pixels
    assert plan.why == "given edits are applied as they are, whatever the resulting I_min"
    assert sum(isinstance(m, nn.MaxPool2d) for m in refined.modules()) == 1
    assert sum(isinstance(m, nn.MaxPool2d) for m in model.modules()) == 5
    _, larger = refine(model, (3, 64, 64), edits="vgg16_cifar")
    assert (larger.reached, larger.why) == (True, "")


def test_mobilenet_v2_for_cifar_keeps_one_stride() -> None:
    refined, plan = refine(named("tv.mobilenet_v2"), (3, 32, 32), edits="mobilenet_v2_cifar")
    strides = [m.stride for m in refined.modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert strides == [(2, 2)]
    assert plan.i_min_after == (19, 19)  # 29 in print


def test_an_edit_for_another_network_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="the edit is for networks with 5 downsamplings that can be moved, but this one has 2"
    ):
        refine(chain(2, 2, 1), (3, 32, 32), edits="vgg19")
    with pytest.raises(ValueError, match="the edit is for an EfficientNet"):
        refine(named("tv.resnet18"), (3, 224, 224), edits="efficientnet")
    with pytest.raises(ValueError, match="the edit is for EfficientNet-B0"):
        refine(named("tv.mobilenet_v3_small"), (3, 224, 224), edits="efficientnet_b0_shorter_wider")


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("tv.resnet18", "resnet50_cifar", "the edits are for a network with I_min 75, but this one has 139"),
        ("tv.resnet50", "mobilenet_v3_large", "the edits are for a network with I_min 263, but this one has 75"),
        ("tv.vgg13", "vgg16_cifar", "the edits are for a network with I_min 212, but this one has 156"),
        ("tv.mobilenet_v2", "vgg19", "no ReLU follows it"),  # ReLU6 throughout
    ],
)
def test_a_network_with_as_many_downsamplings_is_told_by_its_i_min(name: str, edit: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"edits is '{edit}', which does not fit this .*{message}"):
        refine(named(name), (3, 32, 32), edits=edit)
