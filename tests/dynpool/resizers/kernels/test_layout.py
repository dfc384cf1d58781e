"""Shared by the implementations of the operator: the format of results, and how much of a map stays in the cache."""

import pytest
import torch

from dynpool.resizers.kernels import layout
from dynpool.resizers.kernels.layout import memory_format, planes_in_cache

LAST = torch.channels_last


@pytest.mark.parametrize(
    ("x", "format_"),
    [
        (torch.empty(2, 3, 4, 5), torch.contiguous_format),
        (torch.empty(2, 3, 4, 5).to(memory_format=LAST), LAST),
        (torch.empty(2, 3, 4, 8).to(memory_format=LAST)[..., 1:6], LAST),
        (torch.empty(2, 6, 4, 5).to(memory_format=LAST)[:, :3], LAST),
        (torch.empty(2, 3, 4, 8)[..., 1:6], torch.contiguous_format),
        (torch.empty(2, 1, 4, 5).to(memory_format=LAST), torch.contiguous_format),  # both: of one channel
        (torch.empty(2, 1, 4, 8).to(memory_format=LAST)[..., 1:6], torch.contiguous_format),
        (torch.empty(2, 3, 5, 4).transpose(2, 3), torch.contiguous_format),
    ],
)
def test_slices_of_channels_last_maps_are_channels_last_and_all_else_is_contiguous(x, format_):
    assert memory_format(x) == format_


def test_planes_fill_the_cache_of_all_threads_and_a_larger_one_is_taken_alone(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    height, width = 64, 128
    count = planes_in_cache((height, width))
    assert 4 * count * height * width <= 3 * layout._CACHE_BYTES < 4 * (count + 1) * height * width
    assert planes_in_cache((10**4, 10**4)) == 1
