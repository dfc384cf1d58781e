"""Pruning, curvature and similarity of runs: as the functions give them, kept, by the run's own settings."""

import pytest
import torch
import torch.nn.functional as F

from dynpool.analysis import cka, hessian_eigenvalues, prune_globally
from dynpool.training.augmentation import Augmentation
from dynpool.training.errors import ConfigError
from dynpool.training.inspection_parts import (
    BEFORE,
    TRAINED,
    HessianOptions,
    PruningOptions,
    accuracy,
    fine_tune,
    hessians_of,
    prune_subject,
    similarity_of,
)
from dynpool.training.loop import train
from dynpool.training.subjects import Subject, subject_of_run
from tests.dynpool.training.runs import tiny_run


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small = ("--epochs=1", "--model.options.widths=[3,4]", "--data.resolution=8")
    for seed in (0, 1):
        train(tiny_run(folder / str(seed), *small, "--method=dynopool", f"--seed={seed}"))
    return [subject_of_run(folder / str(seed)) for seed in (0, 1)]


def test_pruned_networks_are_scored_on_held_out_images_and_kept(subjects, tmp_path):
    options = PruningOptions((0.5, 0.9), 1)
    report, kept = prune_subject(subjects[0], options, tmp_path)
    model, dataset = subjects[0].load()
    test = subjects[0].batches(dataset.test)
    assert not kept
    assert report.dense == accuracy(test, model.eval())
    pruned = prune_globally(model, 0.9)
    assert report.rows[1].score == accuracy(test, pruned.eval())
    fine_tune(pruned.train(), subjects[0].config, dataset, 1)
    assert report.rows[1].score_after == accuracy(test, pruned.eval())
    assert prune_subject(subjects[0], options, tmp_path) == (report, True)
    assert not prune_subject(subjects[0], PruningOptions((0.5,), 0), tmp_path)[1]


def test_fine_tuning_is_training_by_hand_with_the_settings_of_the_run(subjects):
    model, dataset = subjects[0].load()
    config = subjects[0].config
    tuned = prune_globally(model, 0.5).train()
    masks = {name: value.clone() for name, value in tuned.named_buffers() if name.endswith("weight_mask")}
    by_hand, alphas = (
        prune_globally(model, 0.5).train(),
        [p.clone() for n, p in tuned.named_parameters() if n.endswith("alpha")],
    )
    fine_tune(tuned, config, dataset, 2)

    weights = [p for name, p in by_hand.named_parameters() if not name.endswith("alpha")]
    steps = -(-len(dataset.train) // config.batch_size)
    rates = torch.cos(torch.linspace(0, torch.pi, 2 * steps + 1, dtype=torch.float64)).add(1).mul(config.lr / 2)
    momentum: list[torch.Tensor] = [torch.zeros_like(p) for p in weights]
    step = 0
    for epoch in (1, 2):
        for images, labels in dataset.train.batches(
            config.batch_size, seed=config.seed, epoch=epoch, augmentation=Augmentation.of(config.data)
        ):
            loss = F.cross_entropy(by_hand(images), labels)
            for p, gradient, m in zip(weights, torch.autograd.grad(loss, weights), momentum, strict=True):
                change = gradient + config.weight_decay * p.detach()
                m.mul_(config.momentum).add_(change)
                with torch.no_grad():
                    p.sub_(float(rates[step]) * (change + config.momentum * m))
            step += 1
    for (name, value), other in zip(tuned.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-4, msg=name)
    assert [p.tolist() for n, p in tuned.named_parameters() if n.endswith("alpha")] == [a.tolist() for a in alphas]
    for name, mask in masks.items():
        assert torch.equal(dict(tuned.named_buffers())[name], mask)


def test_spectra_before_and_after_training(subjects, tmp_path):
    options = HessianOptions(3, 40, 1e-6)
    spectra, kept = hessians_of(subjects[0], options, tmp_path)
    assert (list(spectra), kept) == ([BEFORE, TRAINED], False)
    model, dataset = subjects[0].load()
    batches = subjects[0].batches(dataset.train, 40)
    for label, network in ((BEFORE, subjects[0].initial(dataset)), (TRAINED, model)):
        expected = hessian_eigenvalues(network, batches, k=3, tol=1e-6)
        assert spectra[label].eigenvalues == pytest.approx(expected.eigenvalues, rel=1e-4)
        assert spectra[label].images == 40
    (tmp_path / "trained" / "hessian.json").unlink()  # as if it had been interrupted in between
    again, kept = hessians_of(subjects[0], options, tmp_path)
    assert (again, kept) == (spectra, False)
    assert hessians_of(subjects[0], options, tmp_path) == (spectra, True)


def test_similarity_of_two_seeds_is_that_of_held_out_images(subjects, tmp_path):
    first, second = subjects
    report, kept = similarity_of(first, second, 100, tmp_path)
    (one, dataset), (two, _) = (subject.load() for subject in subjects)
    assert not kept
    assert report == cka(one, two, subjects[0].batches(dataset.test, 100))
    assert similarity_of(first, second, 100, tmp_path) == (report, True)
    assert not similarity_of(second, first, 100, tmp_path)[1]


def test_a_checkpoint_has_no_settings_to_fine_tune_with_and_no_initial_weights(subjects, tmp_path):
    alone = Subject("mine", {}, subjects[0].load, None)
    with pytest.raises(ConfigError, match="mine: it has no settings of training"):
        prune_subject(alone, PruningOptions(), tmp_path)
    assert prune_subject(alone, PruningOptions((0.5,), 0), tmp_path)[0].rows[0].score_after is None
    assert list(hessians_of(alone, HessianOptions(1, 10), tmp_path)[0]) == [TRAINED]


def test_what_cannot_be_measured_names_the_run(subjects, tmp_path):
    with pytest.raises(ConfigError, match=r"0: k=99999"):
        hessians_of(subjects[0], HessianOptions(99999, 10), tmp_path)
