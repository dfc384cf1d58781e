"""All methods of a comparison start from the same weights, see the same images in the same order, and train as long."""

import csv
import hashlib

import pytest
import torch

import dynpool
from dynpool.resizers import learned_kernels
from dynpool.training.budget import TOLERANCE
from dynpool.training.data import Images, load_data
from dynpool.training.loop import prepare_model, train
from dynpool.training.methods import METHODS

METHOD_NAMES = (
    "human", "resized", "fixed", "scaled", "random", "dynopool", "shape-adaptor", "diffstride", "refine", "njet",
    "njet+dynopool", "flexconv",
)  # fmt: skip
AUGMENTED = ("--data.shift", "2", "--data.flip", "true", "--batch_size", "100")


def test_these_are_all_methods():
    assert set(METHOD_NAMES) == set(METHODS)


@pytest.fixture
def fed(monkeypatch):
    """Digests of the training batches that networks are given, each with the numbers of its labels."""
    seen = []
    given = Images.batches

    def watched(self, batch_size, *, seed=None, **options):
        for images, labels in given(self, batch_size, seed=seed, **options):
            if seed is not None:
                seen.append((hashlib.sha256(images.numpy().tobytes()).hexdigest(), labels.tolist()))
            yield images, labels

    monkeypatch.setattr(Images, "batches", watched)
    return seen


def test_same_weights_images_order_and_budget_of_training(tiny, tmp_path, fed):
    found = {}
    for method in METHOD_NAMES:
        fed.clear()
        train(tiny(*AUGMENTED, "--method", method, out=tmp_path / method))
        with (tmp_path / method / "metrics.csv").open(newline="") as file:
            rates = [(row["epoch"], row["lr"]) for row in csv.DictReader(file)]
        found[method] = (list(fed), rates)
    batches, rates = found["human"]
    assert len(batches) == 2 * 4  # two epochs of 357 images in batches of 100
    assert len({digest for digest, _ in batches}) == len(batches)
    assert [epoch for epoch, _ in rates] == ["0", "1", "2"]
    for method, other in found.items():
        assert other == found["human"], method


def test_another_seed_gives_other_images_and_weights(tiny, tmp_path, fed):
    train(tiny(*AUGMENTED, "--method", "human", "--epochs", "1", out=tmp_path / "a"))
    first = list(fed)
    fed.clear()
    train(tiny(*AUGMENTED, "--method", "human", "--epochs", "1", "--seed", "1", out=tmp_path / "b"))
    assert not {digest for digest, _ in first} & {digest for digest, _ in fed}


def test_same_initial_weights(tiny):
    config = tiny()
    dataset = load_data(config.data)

    def weights(method, seed):
        """All but alphas and, where kernels are learned, what they are made of in place of the layer's weights."""
        model = prepare_model(tiny("--method", method, "--seed", str(seed)), dataset).model
        own = {f"{path}.{name}" for path, layer in learned_kernels(model).items() for name in layer.state_dict()}
        own -= {f"{path}.bias" for path in learned_kernels(model)}
        kept = {name: value for name, value in model.state_dict().items() if not name.endswith("alpha")}
        return {name: value for name, value in kept.items() if name not in own}, learned_kernels(model)

    for seed in (0, 1):
        own, _ = weights("human", seed)
        assert own
        for method in METHOD_NAMES:
            other, kernels = weights(method, seed)
            assert set(other) == set(own) - {f"{path}.weight" for path in kernels}, method
            assert all(torch.equal(value, own[name]) for name, value in other.items()), method
    assert not torch.equal(weights("human", 0)[0]["0.weight"], weights("human", 1)[0]["0.weight"])


def test_same_gmacs_where_a_budget_is_given(tiny, tmp_path):
    """Methods whose sizes can change end within 2 % of one budget that they share; images have whole pixels."""
    budget = (
        1.25
        * dynpool.count_macs(prepare_model(tiny("--method", "human"), load_data(tiny().data)).model, (1, 16, 16)).gmacs
    )
    options = ("--gmacs_budget", str(budget), "--alpha_until", "0.5", "--diffstride.smoothness", "0.5")
    for method in ("random", "dynopool", "shape-adaptor", "diffstride"):
        figures = train(tiny(*options, "--method", method, out=tmp_path / method))
        assert abs(figures["gmacs"] / budget - 1) <= TOLERANCE, method
