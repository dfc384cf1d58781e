"""What is inspected of a run is its network, its images in a fixed order, and its initial weights."""

import pytest
import torch

from dynpool.training.data import load_data
from dynpool.training.errors import RunFolderError
from dynpool.training.loop import prepare_model, train
from dynpool.training.subjects import InOrder, Subject, subject_of_run
from tests.dynpool.training.runs import tiny_run


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = tiny_run(tmp_path_factory.mktemp("runs") / "run", "--epochs=1", "--method=dynopool")
    train(config)
    return config


def test_images_come_in_a_fixed_order_at_most_so_many(config):
    images = load_data(config.data).train
    batches = InOrder(images, 3, channels_last=True, most=70, size=32)
    sizes = [len(labels) for _, labels in batches]
    assert (sizes, len(batches)) == ([32, 32, 6], 3)
    one, two = (torch.cat([x for x, _ in batches]) for _ in range(2))
    assert torch.equal(one, two)
    assert next(iter(batches))[0].is_contiguous(memory_format=torch.channels_last)
    every = InOrder(images, 3, channels_last=False)
    assert sum(len(labels) for _, labels in every) == len(images)
    assert not torch.equal(torch.cat([y for _, y in every])[:70], images.labels[:70])  # not class by class


def test_the_initial_network_is_that_of_the_seed_before_training(config):
    subject = subject_of_run(config.folder)
    model, dataset = subject.load()
    state = torch.get_rng_state()
    initial = subject.initial(dataset)
    assert torch.equal(state, torch.get_rng_state())
    with torch.random.fork_rng():
        expected = prepare_model(config, dataset).model.state_dict()
    trained = model.state_dict()
    assert initial.state_dict().keys() == trained.keys()
    for name, value in initial.state_dict().items():
        assert torch.equal(value, expected[name])
    assert any(not torch.equal(value, trained[name]) for name, value in expected.items())


def test_the_digest_changes_with_the_checkpoint(config, tmp_path):
    one = subject_of_run(config.folder)
    assert one.digest == subject_of_run(config.folder).digest
    other = tiny_run(tmp_path / "other", "--epochs=1", "--seed=5")
    train(other)
    assert subject_of_run(other.folder).digest["checkpoint"] != one.digest["checkpoint"]


def test_what_has_no_checkpoint_or_no_initial_weights_is_named(config, tmp_path):
    (tmp_path / "config.yaml").write_text((config.folder / "config.yaml").read_text())
    with pytest.raises(RunFolderError, match="has no checkpoint yet"):
        subject_of_run(tmp_path)
    run = subject_of_run(config.folder)
    alone = Subject("mine", {}, run.load, None)
    with pytest.raises(RunFolderError, match="mine: the weights before training are not known"):
        alone.initial(run.load()[1])
