"""Sizes are set in models with hand-placed resizers as in converted ones; a refusal changes nothing."""

import pytest
import torch
from torch import nn

import dynpool
from dynpool.baselines import DiffStride2d, ShapeAdaptor2d
from dynpool.size_math import pair
from tests.dynpool.conversion.by_hand import ByHand

SIZE = (3, 32, 24)


def maps(model, size=SIZE):
    """{name: output size} of the resizers in a real pass."""
    found = {}
    hooks = [
        module.register_forward_hook(lambda m, x, out, name=name: found.update({name: tuple(out.shape[-2:])}))
        for name, module in model.named_children()
        if name in ("first", "second", "again")
    ]
    model(torch.zeros(1, *size))
    for hook in hooks:
        hook.remove()
    return found


def alphas(model):
    return {name: r.alpha.tolist() for name, r in dynpool.resolutions(model).items()}


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        (dynpool.DynOPool2d, (29, 7), (3, 11)),
        (DiffStride2d, (24, 20), (20, 18)),  # its sizes are even
        (ShapeAdaptor2d, (24, 18), (18, 13)),  # one parameter for both axes
    ],
)
def test_hand_placed_resizers_get_the_sizes_in_a_real_pass(kind, first, second):
    model = ByHand(kind)
    wanted = {"first": first, "second": second}
    dynpool.set_sizes(model, wanted, input_size=SIZE)
    assert {name: maps(model)[name] for name in wanted} == wanted


def test_one_resizer_alone_is_set_behind_the_present_size_of_the_other():
    model = ByHand()
    dynpool.set_sizes(model, {"second": (11, 9)}, input_size=SIZE)
    assert maps(model)["first"] == (16, 12)
    assert maps(model)["second"] == (11, 9)
    assert model.second.bounds == (1 / 8, 2.0)


def test_bounds_are_widened_and_a_tied_one_follows():
    model = ByHand(bounds=(0.4, 0.6))
    dynpool.set_sizes(model, {"first": (40, 20)}, input_size=SIZE)
    sizes = maps(model)
    assert sizes["first"] == (40, 20)
    assert sizes["again"] == tuple(round(n * 40 / 32) if i == 0 else round(n * 20 / 24) for i, n in enumerate((20, 10)))


@pytest.mark.parametrize(
    ("sizes", "options", "error", "said"),
    [
        ({"first": (9, 9)}, {}, ValueError, "needs input_size"),
        ({"frist": (9, 9)}, {"input_size": SIZE}, ValueError, "frist.*first"),
        ({"first": (1, 9)}, {"input_size": SIZE}, ValueError, "at least 2 pixels"),
        ({"first": (9, 9), "unused": (9, 9)}, {"input_size": SIZE}, ValueError, "unused.*does not call"),
        ([("first", (9, 9))], {"input_size": SIZE}, TypeError, "sizes must be a dict"),
        ({"first": (9, 9)}, {"input_size": (3, 32)}, ValueError, r"handles learned resizers of \(length,\) alone"),
        ({"first": (9, 9)}, {"input_size": (5, 32, 24)}, ValueError, "cannot run at"),
    ],
)
def test_a_refusal_names_what_is_wrong_and_changes_nothing(sizes, options, error, said):
    model = ByHand()
    before = alphas(model)
    with pytest.raises(error, match=said):
        dynpool.set_sizes(model, sizes, **options)
    assert alphas(model) == before


def test_a_size_that_a_resizer_cannot_have_is_refused():
    model = ByHand(DiffStride2d)
    before = alphas(model)
    with pytest.raises(ValueError, match=r"\(4, 4\).*cannot be reached"):
        dynpool.set_sizes(model, {"first": (4, 4)}, input_size=SIZE)
    assert alphas(model) == before


def test_a_plain_model_has_no_sizes_to_set():
    with pytest.raises(ValueError, match="place a resizer"):
        dynpool.set_sizes(nn.Conv2d(3, 3, 3), {"": (9, 9)}, input_size=SIZE)


def test_the_sizes_of_a_converted_model_are_for_its_own_input():
    learned = dynpool.convert(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2)), SIZE)
    dynpool.set_sizes(learned, {"1": (20, 10)}, input_size=SIZE)
    assert dynpool.sizes(learned, SIZE)["1"] == (20, 10)
    with pytest.raises(ValueError, match="for its own input size"):
        dynpool.set_sizes(learned, {"1": (20, 10)}, input_size=(3, 48, 48))
    with pytest.raises(ValueError, match="input_size must be two to four positive ints"):
        dynpool.set_sizes(learned, {"1": (20, 10)}, input_size=5)  # type: ignore[arg-type]


class OneNumber(dynpool.DynOPool2d):
    """One alpha for height and width."""

    def __init__(self):
        super().__init__(2.0)
        self.alpha = nn.Parameter(torch.full((1,), 2.0))

    def forward(self, x, size=None):
        return nn.functional.adaptive_avg_pool2d(x, pair(size or self.own_size(x)))


def test_if_one_resizer_refuses_its_alpha_none_is_changed():
    model = nn.Sequential(dynpool.DynOPool2d(2.0, bounds=(0.4, 0.6)), OneNumber())
    before = alphas(model)
    with pytest.raises(ValueError, match="which height and width share"):
        dynpool.set_sizes(model, {"0": (30, 12), "1": (10, 3)}, input_size=SIZE)
    assert alphas(model) == before
    assert model[0].bounds == (0.4, 0.6)
    assert model[1].bounds == (1 / 8, 2.0)
