"""Batches are taken as pairs or alone, of one size; anything else is an error that says what was given."""

import pytest
import torch
from torch import nn

from dynpool.analysis.common.batches import (
    check_batches,
    check_progress,
    checked,
    device_of,
    on_device,
    random_states_kept,
)

IMAGES = torch.zeros(2, 3, 4, 4)


def test_pairs_and_inputs_alone():
    assert [target for _, target in checked([(IMAGES, 1), [IMAGES, None]], targets=True)] == [1, None]
    assert [(images is IMAGES, target) for images, target in checked([IMAGES], targets=False)] == [(True, None)]


@pytest.mark.parametrize(
    ("batches", "targets", "message"),
    [
        ([IMAGES], True, r"pairs \(input, target\), got a tensor of shape \(2, 3, 4, 4\)"),
        ([(IMAGES,)], False, "got a tuple of 1"),
        ([(3, 4)], True, r"tensors \(N, C, H, W\) with an image or more, got int"),
        ([IMAGES[0]], False, r"got a tensor of shape \(3, 4, 4\)"),
        ([IMAGES[:0]], False, "with an image or more"),
        ([IMAGES, IMAGES[..., :3]], False, "inputs of batch 1 are 3x4x3, not 3x4x4 as the first"),
        ([], False, "batches is empty"),
    ],
)
def test_other_batches_are_errors(batches, targets, message):
    with pytest.raises((TypeError, ValueError), match=message):
        list(checked(batches, targets=targets))


def test_what_is_no_batches_or_progress():
    values: list[object] = [None, 3, "x", b"x", {}, IMAGES]
    for value in values:
        with pytest.raises(TypeError, match=f"batches must be an iterable.*{type(value).__name__}"):
            check_batches(value)
    check_batches(iter([IMAGES]))
    with pytest.raises(TypeError, match="progress must be callable, got 3"):
        check_progress(3)
    check_progress(None)


def test_inference_tensors_become_usable_in_a_backward_pass():
    with torch.inference_mode():
        given = torch.ones(2)
    moved, other = on_device((given, "x"), torch.device("cpu"))
    assert (moved * torch.ones(2, requires_grad=True)).sum().backward() is None
    assert other == "x"
    assert on_device(IMAGES, torch.device("cpu")) is IMAGES


def test_device_of_a_model():
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_of(nn.ReLU()).type == "cpu"


def test_random_states_are_kept_without_a_warning(recwarn):
    models = nn.Linear(1, 1), nn.ReLU()
    before = torch.get_rng_state()
    with random_states_kept(*models):
        torch.rand(3)
        assert not torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.get_rng_state(), before)
    assert not recwarn.list
