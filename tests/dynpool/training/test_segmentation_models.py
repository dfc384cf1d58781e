"""Networks for segmentation score every pixel, and maps that meet keep one size when it is learned."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import dynpool
from dynpool.training.segmentation_models import HRNetSegmentation, UNet

SMALL: dict[str, Any] = {"backbone": "hrnet_w18_small", "width": 4, "blocks": 1}


def test_a_narrow_hrnet_has_the_branches_of_the_wide_one():
    with torch.device("meta"):
        narrow, wide = (
            HRNetSegmentation(5, 1, **options) for options in (SMALL, {"backbone": "hrnet_w18_small"})
        )  # fmt: skip
    sizes = [list(dynpool.sizes(network, (1, 64, 64)).values()) for network in (narrow, wide)]
    assert set(sizes[0]) == set(sizes[1]) == {(64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2)}
    assert narrow.backbone.stage4_cfg["num_channels"] == (4, 8, 16, 32)
    count = [sum(parameter.numel() for parameter in network.parameters()) for network in (narrow, wide)]
    assert count[0] < count[1] / 20


def stretched(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Bilinear interpolation: along each axis a pixel is between those whose centres are nearest to its own."""
    across = []
    for n, m in zip(x.shape[-2:], size, strict=True):
        centres = (np.arange(m) + 0.5) * n / m - 0.5
        across.append(torch.tensor(np.array([np.interp(centres, np.arange(n), row) for row in np.eye(n)])))
    return torch.einsum("nchw,hi,wj->ncij", x, *across)


def test_the_head_of_an_hrnet_scores_the_stretched_maps_of_all_branches():
    torch.manual_seed(0)
    network: Any = HRNetSegmentation(5, 1, **SMALL).double().eval()
    images = torch.randn(2, 1, 64, 96, dtype=torch.float64)
    maps: list[torch.Tensor] = []
    network.backbone.stage4.register_forward_hook(lambda module, args, out: maps.extend(out))
    norm = network.head[1]
    with torch.no_grad():
        for value in (norm.running_mean, norm.weight, norm.bias):
            value.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        scores = network(images)
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 16, 24), (8, 8, 12), (16, 4, 6), (32, 2, 3)]
    x = torch.cat([stretched(m, (16, 24)) for m in maps], 1)
    first, last = network.head[0], network.head[3]
    x = torch.einsum("nchw,kc->nkhw", x, first.weight[:, :, 0, 0]) + first.bias[:, None, None]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    x = ((x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).clamp(min=0)
    x = torch.einsum("nchw,kc->nkhw", x, last.weight[:, :, 0, 0]) + last.bias[:, None, None]
    torch.testing.assert_close(scores, x)


def test_the_way_up_of_a_u_net_has_the_skipped_map_then_the_stretched_one():
    torch.manual_seed(0)
    network = UNet(5, 1, widths=(4, 4, 8)).double().eval()
    made: dict[str, torch.Tensor] = {}
    given: dict[str, torch.Tensor] = {}

    def keep(module, args, out, name):
        given[name], made[name] = args[0], out.clone()

    for name, module in network.named_modules():
        if name in ("down.0", "down.1", "down.2", "up.0", "up.1"):
            module.register_forward_hook(partial(keep, name=name))
    network(torch.randn(2, 1, 22, 37, dtype=torch.float64))
    for level, below in (("1", "down.2"), ("0", "up.1")):
        skipped = made[f"down.{level}"]
        expected = torch.cat([skipped, stretched(made[below], skipped.shape[-2:])], 1)
        torch.testing.assert_close(given[f"up.{level}"], expected)


def test_options_that_do_not_fit():
    for options, said in (({"width": 0}, "width"), ({"blocks": 0}, "blocks"), ({"backbone": "hrnet"}, "expected")):
        with pytest.raises(ValueError, match=said):
            HRNetSegmentation(5, **{**SMALL, **options})
    with pytest.raises(ValueError, match=r"widths=\[\]"):
        UNet(5, widths=[])


@pytest.mark.parametrize("side", [32, 37])
def test_a_u_net_scores_every_pixel(side):
    torch.manual_seed(0)
    network = UNet(5, 1, widths=(4, 6, 8)).eval()
    assert network(torch.randn(2, 1, side, side + 3)).shape == (2, 5, side, side + 3)


def test_learned_sizes_agree_at_the_skip_connections():
    torch.manual_seed(0)
    network = dynpool.convert(UNet(5, 1, widths=(4, 6, 8)), (1, 32, 32))
    report = dynpool.conversion_report(network)
    assert (len(report.of("converted")), len(report.of("follows")), len(report.rows)) == (2, 2, 4)
    dynpool.set_sizes(network, {"pool.0": (19, 21), "pool.1": (5, 11)})
    images = torch.randn(2, 1, 32, 32)
    scores = network(images)
    assert scores.shape == (2, 5, 32, 32)
    scores.square().mean().backward()
    alphas = [parameter for name, parameter in network.named_parameters() if name.endswith("alpha")]
    assert [parameter.grad is not None and bool(parameter.grad.any()) for parameter in alphas] == [True, True]
    frozen = dynpool.freeze(network.eval())
    assert torch.allclose(frozen(images), network(images), atol=1e-5)


def test_learned_sizes_of_all_branches_of_a_narrow_hrnet():
    torch.manual_seed(0)
    network = dynpool.convert(HRNetSegmentation(5, 1, **SMALL), (1, 64, 64), order="before")
    report = dynpool.conversion_report(network)
    assert not report.of("pinned")
    assert not report.of("left alone")
    dynpool.set_sizes(network, {"backbone.conv2": (21, 19)})
    assert network(torch.randn(2, 1, 64, 64)).shape == (2, 5, 21, 19)
