"""Every kind of resizer: its function is kept where asked, its output has the learned size, users add their own."""

from __future__ import annotations

from typing import Any

import pytest
import timm.layers
import torch
from timm.layers import BlurPool2d, Conv2dSame, StdConv2d
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2dSame
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

import dynpool
from dynpool.conversion import registry
from dynpool.conversion.layer_context import sites
from dynpool.conversion.registry import Plan, plan_for, planner_of

KINDS: dict[str, nn.Module] = {
    "3x3": nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "3x3 stride 2x1": nn.Conv2d(4, 6, 3, stride=(2, 1), padding=1),
    "depthwise": nn.Conv2d(4, 4, 5, stride=2, padding=2, groups=4),
    "1x1": nn.Conv2d(4, 6, 1, stride=2),
    "dilated": nn.Conv2d(4, 6, 3, stride=2, padding=2, dilation=2),
    "even kernel": nn.Conv2d(4, 6, 4, stride=2, padding=1),
    "even kernel, valid": nn.Conv2d(4, 6, 2, stride=3),
    "valid": nn.Conv2d(4, 6, 3, stride=2),
    "7x7 stride 4": nn.Conv2d(4, 6, 7, stride=4, padding=2),
    "reflected": nn.Conv2d(4, 6, 3, stride=2, padding=1, padding_mode="reflect"),
    "patches": nn.Conv2d(4, 6, 4, stride=4),
    "same 3x3": Conv2dSame(4, 6, 3, stride=2),
    "same 4x4": Conv2dSame(4, 6, 4, stride=2),
    "same 1x1": Conv2dSame(4, 6, 1, stride=2),
    "same 5x5 dilated": Conv2dSame(4, 6, 5, stride=3, dilation=2),
    "std": StdConv2d(4, 6, 3, stride=2),
    "std same": StdConv2dSame(4, 6, 7, stride=2),
    "scaled std": ScaledStdConv2d(4, 6, 3, stride=2),
    "scaled std same": ScaledStdConv2dSame(4, 6, 3, stride=2),
    "mixed": timm.layers.MixedConv2d(4, 6, [3, 5], stride=2),
    "mixed same": timm.layers.MixedConv2d(4, 6, [3, 5], stride=2, padding="same"),
    "torchvision": Conv2dNormActivation(4, 6, 3, stride=2).eval(),
    "max 2x2": nn.MaxPool2d(2),
    "max 3x3": nn.MaxPool2d(3, stride=2, padding=1),
    "max 3x3 ceil": nn.MaxPool2d(3, stride=2, ceil_mode=True),
    "max 2x2 ceil": nn.MaxPool2d(2, ceil_mode=True),
    "max 3x3 dilated": nn.MaxPool2d(3, stride=3, dilation=2, padding=1),
    "max same": MaxPool2dSame(3, stride=2),
    "mean 2x2": nn.AvgPool2d(2),
    "mean 3x3": nn.AvgPool2d(3, stride=2, padding=1),
    "mean 3x3, border not counted": nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    "mean 2x2 ceil, border not counted": nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
    "mean 3x3 ceil": nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
    "mean of 1x1": nn.AvgPool2d(1, stride=2),
    "mean with a divisor": nn.AvgPool2d(3, stride=2, divisor_override=5),
    "mean same": AvgPool2dSame(3, stride=2),
    "power mean": nn.LPPool2d(2, 3, stride=2),
    "power mean ceil": nn.LPPool2d(2, 3, stride=2, ceil_mode=True),
    "blur 3": BlurPool2d(4, filt_size=3, stride=2),
    "blur 4": BlurPool2d(4, filt_size=4, stride=2),
    "blur 3 with zeros": BlurPool2d(4, filt_size=3, stride=2, pad_mode="constant"),
}
SIZES = [(16, 16), (17, 19), (24, 26)]


def convert(kind: str, hw: tuple[int, int], **how: Any) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), KINDS[kind]).eval()
    return model, dynpool.convert(model, (3, *hw), **how)


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("kind", KINDS)
def test_preserve_keeps_the_function_at_every_size_it_is_asked_for(kind: str, order: str) -> None:
    for hw in SIZES:
        model, kept = convert(kind, hw, preserve=True, order=order)
        x = torch.randn(2, 3, *hw)
        torch.testing.assert_close(kept(x), model(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("preserve", [False, True])
@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_have_the_learned_size_and_gradients_reach_alpha(kind: str, order: str, preserve: bool) -> None:
    _, learned = convert(kind, (24, 26), preserve=preserve, order=order)
    (name,) = dynpool.resolutions(learned)
    dynpool.set_sizes(learned, {name: (9, 15)})
    out = learned(torch.randn(2, 3, 24, 26))
    assert out.shape[-2:] == (9, 15)
    out.square().sum().backward()
    alpha = dynpool.resolutions(learned)[name].alpha
    assert alpha.grad is not None
    assert alpha.grad.isfinite().all()
    assert alpha.grad.abs().max() > 0


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("kind", KINDS)
def test_frozen_layers_equal_live_ones_at_every_size(kind: str, order: str) -> None:
    _, learned = convert(kind, (24, 26), preserve=True, order=order)
    (name,) = dynpool.resolutions(learned)
    for sizes in ({}, {name: (9, 15)}):
        dynpool.set_sizes(learned, sizes)
        frozen = dynpool.freeze(learned)
        for hw in ((24, 26), (33, 21), (48, 52)):
            x = torch.randn(2, 3, *hw)
            torch.testing.assert_close(frozen(x), learned(x), rtol=1e-4, atol=1e-5)


def test_patches_and_layers_resized_before_do_not_grow() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("patches", {}),
        ("patches", {"preserve": True}),
        ("3x3", {"order": "before"}),
        ("3x3", {"order": "before", "preserve": True}),
    ]
    for kind, how in cases:
        report = dynpool.conversion_report(convert(kind, (24, 24), **how)[1])
        assert report.rows[0].macs[0] == report.rows[0].macs[1] > 0
        assert report.macs[0] == report.macs[1]


def test_the_report_states_what_a_stride_one_form_costs() -> None:
    model, learned = convert("3x3", (24, 24))
    report = dynpool.conversion_report(learned)
    assert report.rows[0].macs == (12 * 12 * 6 * 4 * 9, 24 * 24 * 6 * 4 * 9)
    assert report.macs == (dynpool.count_macs(model, (3, 24, 24)).total, dynpool.count_macs(learned, (3, 24, 24)).total)
    assert f"{24 * 24 * 6 * 4 * 9:,}" in str(report)
    assert report.to_dict()["rows"][0]["macs"] == report.rows[0].macs


class Conditional(nn.Module):
    """A layer with a second argument."""

    def __init__(self, padding: str) -> None:
        super().__init__()
        self.conv = timm.layers.CondConv2d(3, 4, 3, stride=2, padding=padding, num_experts=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, x.new_tensor([[0.3, 0.7]]).expand(len(x), 2))


@pytest.mark.parametrize("order", ["after", "before"])
@pytest.mark.parametrize("padding", ["", "same"])
def test_conditional_convolutions_keep_their_routing(padding: str, order: str) -> None:
    model = Conditional(padding).eval()
    learned = dynpool.convert(model, (3, 16, 16), preserve=True, order=order)  # type: ignore[arg-type]
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(learned(x), model(x), rtol=1e-5, atol=1e-6)


class Every(nn.Module):
    """A layer of a user: every n-th pixel."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 1, self.step)


class EveryOther(Every):
    def __init__(self) -> None:
        super().__init__(2)


def test_users_register_kinds_of_their_own() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), EveryOther())
    assert planner_of(model[1]) is None

    @dynpool.register_kind(Every)
    def plan(module: Every, site: dynpool.Site) -> dynpool.Plan | str:
        assert site.resize.stride == (module.step, module.step)
        return site.keep_stride() if site.preserve else dynpool.Plan("instead", "mean")

    assert planner_of(model[1]) is plan  # its subclasses count
    learned = dynpool.convert(model, (3, 16, 16))
    assert isinstance(learned.get_submodule("1"), dynpool.DynOPool2d)
    kept = dynpool.convert(model, (3, 16, 16), preserve=True)
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(kept(x), model(x))

    @dynpool.register_kind(EveryOther)
    def refuse(module: Every, site: dynpool.Site) -> dynpool.Plan | str:
        return "it is mine"

    with pytest.raises(ValueError, match="it is mine"):  # the nearest type counts
        dynpool.convert(model, (3, 16, 16))


class Padded(nn.Conv2d):
    """A convolution that pads its input by itself, by a rule that nobody knows."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (2, 0, 2, 0)))


@pytest.mark.parametrize("order", ["after", "before"])
def test_a_convolution_that_pads_by_a_rule_of_its_own_keeps_its_stride(order: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Padded(4, 6, 3, stride=2))
    learned = dynpool.convert(model, (3, 16, 16), preserve=True, order=order)  # type: ignore[arg-type]
    x = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(learned(x), model(x))
    free = dynpool.convert(model, (3, 16, 16), order=order)  # type: ignore[arg-type]
    assert free.get_submodule("1").stride == (2, 2)
    dynpool.set_sizes(free, {"1": (5, 11)})
    assert free(x).shape[-2:] == (5, 11)


def test_sites_know_the_size_of_the_layers_own_input() -> None:
    model = nn.Sequential(Conv2dSame(3, 4, 3, stride=2), BlurPool2d(4))
    graph = dynpool.trace(model, (3, 16, 18))
    same, blur = sites(graph, graph, "after", True).values()
    assert (same.in_size, same.pad, same.pads_same) == ((16, 18), ((0, 1), (0, 1)), True)
    assert (blur.in_size, blur.pad, blur.pads_same) == ((8, 9), ((1, 1), (1, 1)), False)
    assert blur.windows == (8, 10)


def test_a_pool_whose_indices_are_used_is_refused() -> None:
    graph = dynpool.trace(nn.MaxPool2d(2), (3, 16, 16))
    (site,) = sites(graph, graph, "after", False).values()
    assert isinstance(plan_for(nn.MaxPool2d(2), site), Plan)
    assert plan_for(nn.MaxPool2d(2, return_indices=True), site) == "its indices are used"


def test_kinds_are_types_or_dotted_names() -> None:
    with pytest.raises(ValueError, match=r"kinds has 'x'; allowed: types, or dotted names such as"):
        dynpool.register_kind("x", "y")
    with pytest.raises(TypeError, match=r"dotted names, got <function .*; the planner is the function that is"):
        dynpool.register_kind(nn.Conv2d, plan_for)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="kinds is empty"):
        dynpool.register_kind()


def test_what_is_no_plan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="place='beside': expected one of 'instead', 'after', 'before'"):
        dynpool.Plan("beside", "max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reduce='sum': expected one of 'max', 'mean', 'sample'"):
        dynpool.Plan("after", "sum")  # type: ignore[arg-type]

    class Pool(nn.MaxPool2d):
        pass

    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))
    dynpool.register_kind(Pool)(lambda module, site: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match=r"the planner of .*Pool returned None: expected a Plan, or a reason"):
        dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3), Pool(2), nn.Conv2d(4, 4, 3)), (3, 32, 32))
