"""Probes equal a slow restatement of penalised logistic regression."""

import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from dynpool.analysis.representations import fit_probe


def data(images=90, features=5, classes=3, seed=0, apart=1.0):
    generator = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    x = generator.normal(size=(images, features)) * 3 + 7
    x[np.arange(images), labels] += apart * 3
    return x, labels


def restated_predictions(x, labels, held_out, strength):
    """Of the multinomial model that minimises the penalised loss on standardised features, by its gradient."""
    mean, std = x.mean(0), x.std(0)
    z, classes = (x - mean) / std, labels.max() + 1
    one_hot = np.eye(classes)[labels]

    def loss(flat):
        weight, bias = flat[:-classes].reshape(classes, -1), flat[-classes:]
        scores = z @ weight.T + bias
        value = (scipy.special.logsumexp(scores, axis=1) - scores[np.arange(len(z)), labels]).sum()
        off = scipy.special.softmax(scores, axis=1) - one_hot
        slope = np.concatenate([(off.T @ z + weight / strength).ravel(), off.sum(0)])
        return value + (weight**2).sum() / (2 * strength), slope

    start = np.zeros(classes * (z.shape[1] + 1))
    flat = scipy.optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-8}).x
    return ((held_out - mean) / std @ flat[:-classes].reshape(classes, -1).T + flat[-classes:]).argmax(1)


@pytest.mark.parametrize("strength", [0.01, 1.0, 100.0])
def test_accuracy_is_that_of_the_restated_model(strength):
    (x, y), (u, v) = data(), data(seed=1)
    probe = fit_probe(x, y, u, v, strength=strength)
    assert probe.converged
    assert probe.accuracy == (restated_predictions(x, y, u, strength) == v).mean()
    assert 0.4 < probe.accuracy < 0.9  # neither trivial nor impossible
    assert probe.error == pytest.approx(np.std(np.arange(90) < round(90 * probe.accuracy)) / np.sqrt(90))


def test_the_scale_and_a_constant_feature_do_not_matter():
    (x, y), (u, v) = data(), data(seed=1)
    scale = np.array([1, 1e-3, 1e3, 7, 0.1])
    plain = fit_probe(x, y, u, v)
    assert fit_probe(x * scale + 5, y, u * scale + 5, v).accuracy == plain.accuracy
    ones = np.full((90, 1), 3.0)
    assert fit_probe(np.hstack([x, ones]), y, np.hstack([u, ones]), v).accuracy == plain.accuracy


def test_it_says_when_it_has_not_converged():
    (x, y), (u, v) = data(), data(seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = fit_probe(x, y, u, v, iterations=2)
    assert (probe.converged, probe.iterations) == (False, 2)


def test_the_same_data_give_the_same_probe():
    (x, y), (u, v) = data(), data(seed=1)
    assert fit_probe(x, y, u, v) == fit_probe(x, y, u, v)


@pytest.mark.parametrize(
    ("labels", "held_out", "said"),
    [
        (np.zeros(90, int), np.zeros(90, int), "train_batches: all images are of class 0"),
        (np.arange(90) % 3, np.arange(90) % 4, "train_batches|test_batches: images of class 3"),
        (np.arange(90) % 3, np.arange(90) + 1, "train_batches: 90 images for 91 classes"),
    ],
)
def test_labels_that_no_probe_can_be_fitted_to(labels, held_out, said):
    x = np.ones((90, 2))
    with pytest.raises(ValueError, match=said):
        fit_probe(x, labels, x, held_out)


def test_no_held_out_image():
    x, y = data()
    with pytest.raises(ValueError, match="test_batches: there is no held-out image"):
        fit_probe(x, y, x[:0], y[:0])


def test_features_that_do_not_match():
    x, y = data()
    with pytest.raises(ValueError, match="held_out must be"):
        fit_probe(x, y, x[:, :3], y)
    with pytest.raises(ValueError, match="features must be"):
        fit_probe(x, y[:3], x, y)


@pytest.mark.parametrize("bad", [{"iterations": 0}, {"strength": 0}, {"strength": float("inf")}])
def test_bad_numbers(bad):
    x, y = data()
    with pytest.raises(ValueError, match=next(iter(bad))):
        fit_probe(x, y, x, y, **bad)
