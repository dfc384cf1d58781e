"""Runs of segmentation: every method, resuming, other networks, images at their own size, and their comparison."""

import csv
import json

import numpy as np
import pytest
import torch

import dynpool
from dynpool.analysis import compare_runs
from dynpool.analysis.comparison import write_report
from dynpool.analysis.comparison.examples import read_examples
from dynpool.training import checkpoint as checkpoints
from dynpool.training import digit_scenes
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.data import load_data
from dynpool.training.errors import ConfigError
from dynpool.training.inspection import InspectionOptions, inspect_run
from dynpool.training.loop import prepare_model, train
from dynpool.training.methods import METHODS
from dynpool.training.restored import restored_model
from dynpool.training.segmentation import confusion, mean_iou, scores_at
from tests.dynpool.training.mask_folders import mask_folder
from tests.dynpool.training.runs import assert_same_run, rows

OPTIONS = [
    "--name=scene", "--task=segmentation", "--model.name=unet", "--model.options={widths: [4, 6, 8]}",
    "--data.name=digits-scene", "--data.resolution=32", "--data.scale=[0.75,1.5]", "--batch_size=4", "--epochs=2",
    "--lr=0.05", "--alpha_lr=0.3", "--alpha_until=0.5", "--device=cpu", "--threads=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(digit_scenes, "SCENES", {"train": 10, "test": 6})


def scene_run(out, *options):
    return load_config(RunConfig, None, [*OPTIONS, "--out", str(out), *options])[0]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_trains(tmp_path, method):
    budget = ("--gmacs_budget=0.003",) if method in ("dynopool", "scaled", "random", "resized") else ()
    figures = train(scene_run(tmp_path, f"--method={method}", "--epochs=1", *budget))
    last = rows(tmp_path)[-1]
    assert float(last["test_miou"]) == figures["test_miou"] <= figures["best_test_miou"]
    assert 0 <= float(last["train_miou"]) <= 1
    if budget:
        assert figures["gmacs"] == pytest.approx(0.003, rel=0.02 if method != "resized" else 0.1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two epochs of the method dynopool."""
    out = tmp_path_factory.mktemp("scene") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes, "SCENES", {"train": 10, "test": 6})
        train(scene_run(out, "--checkpoint_every=1"))
    return out


def test_figures_are_those_of_the_restored_network(trained):
    model, size = restored_model(trained)
    assert size == (1, 32, 32)
    test = load_data(scene_run(trained).data).test
    with torch.no_grad():
        images, masks = next(iter(test.batches(6)))
        matrix = confusion(scores_at(model.eval()(images), masks.shape[-2:]), masks)
    last = rows(trained)[-1]
    assert float(last["test_miou"]) == pytest.approx(mean_iou(matrix), abs=1e-12)
    done = json.loads((trained / "done.json").read_text())
    assert done["test_miou"] == float(last["test_miou"])
    assert "predictions.npz" in done["files"]


def test_a_run_resumes_to_the_same_bits(trained, tmp_path):
    config = scene_run(tmp_path, "--checkpoint_every=1", "--epochs=2")
    train(config)
    (tmp_path / "done.json").unlink()
    checkpoints.epoch_path(tmp_path, 1).replace(checkpoints.last_path(tmp_path))
    train(config, resume=True)
    assert_same_run(trained, tmp_path)


def test_accumulated_parts_give_the_steps_of_whole_batches(tmp_path):
    """Without batch norm: each part counts by its pixels that count, of which parts have different numbers."""
    options = ("--epochs=1", "--method=human", f"--model.name={__name__}:plain", "--model.options={}")
    for name, more in (("whole", ()), ("parts", ("--optimizer.accumulate=3",))):
        train(scene_run(tmp_path / name, *options, *more))
    whole, parts = (checkpoints.load(checkpoints.last_path(tmp_path / name)).model for name in ("whole", "parts"))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)
    one, other = (rows(tmp_path / name)[-1] for name in ("whole", "parts"))
    for column in ("train_loss", "train_miou", "test_loss", "test_miou"):
        assert float(other[column]) == pytest.approx(float(one[column]), rel=1e-5)


def plain(num_classes, in_channels):
    return torch.nn.Conv2d(in_channels, num_classes, 3, padding=1)


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_networks_of_torchvision_learn_their_sizes(tmp_path, name):
    options = (f"--model.name=torchvision:{name}", "--model.options={}", "--data.channels=3", "--data.resolution=64")
    figures = train(scene_run(tmp_path, *options, "--epochs=1", "--data.train_images=4", "--conversion.order=before"))
    assert figures["test_miou"] >= 0
    model, size = restored_model(tmp_path)
    assert dynpool.conversion_report(model).of("converted")
    assert model.eval()(torch.zeros(1, *size))["out"].shape == (1, 11, 64, 64)


def test_a_network_that_classifies_images_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"returns 1x11 for an image of 1x32x32; task: segmentation needs"):
        train(scene_run(tmp_path / "run", "--model.name=narrow-vgg", "--model.options={}"))
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize("test", ["whole", "sliding"])
def test_folders_of_masks(tmp_path, test):
    root = mask_folder(tmp_path / "data")
    options = ["--data.name=mask-folder", f"--data.root={root}", "--data.stream=true", "--data.normalise=imagenet"]
    options += ["--data.resolution=24", "--data.workers=0", "--data.flip=true", f"--data.test={test}"]
    config = scene_run(tmp_path / "run", *options, "--method=human", "--lr=0.2", "--epochs=3")
    train(config)
    assert float(rows(tmp_path / "run")[-1]["test_miou"]) > 0
    examples = read_examples(tmp_path / "run")
    assert examples is not None
    assert examples.images.shape == (6, 3, 24, 24)
    assert examples.classes == ("nothing", "small", "large")


def test_keys_of_tasks_that_do_not_fit_are_refused(tmp_path):
    for option, said in (
        ("--task=classification", r"task is 'classification'; allowed: segmentation, as data.name is 'digits-scene'"),
        ("--loss=bce", "loss is 'bce'; allowed: cross_entropy"),
        ("--mixup=0.2", "mixup is 0.2; allowed: 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            scene_run(tmp_path, option)


def test_a_comparison_speaks_of_mean_iou(trained, tmp_path):
    train(scene_run(tmp_path / "human", "--method=human"))
    comparison = compare_runs([trained, tmp_path / "human"])
    assert "mIoU" in comparison.headline
    assert "accura" not in str(comparison)
    assert list(comparison.plot()) == [
        "miou_vs_gmacs", "sizes", "predictions", "objects", "i_min", "alphas", "miou",
    ]  # fmt: skip
    row = next(row for row in comparison.rows if row.method == "human")
    assert row.score == row.miou == float(rows(tmp_path / "human")[-1]["test_miou"])
    table = list(csv.DictReader(comparison.to_csv().splitlines()))
    assert float(table[0]["miou"]) == pytest.approx(comparison.methods[0].score.mean, rel=1e-4)
    page = write_report(comparison, tmp_path / "report").read_text()
    assert "mIoU against cost" in page
    assert (tmp_path / "report" / "predictions.png").stat().st_size > 0
    assert np.isfinite(comparison.pairs[0].gmacs_ratio)


def test_runs_of_both_tasks_are_not_compared(trained, straight):
    with pytest.raises(ValueError, match=r"runs of different tasks cannot be compared: .* by mIoU, .* by accuracy"):
        compare_runs([straight, trained])


def test_layers_are_not_probed(trained, tmp_path):
    with pytest.raises(ConfigError, match="task is segmentation"):
        inspect_run(trained, InspectionOptions(), tmp_path / "inspect")


def test_prepared_networks_have_the_weights_of_the_seed(tmp_path):
    config = scene_run(tmp_path)
    human, dynopool = (
        prepare_model(load_config(RunConfig, None, [*OPTIONS, f"--method={method}"])[0], load_data(config.data)).model
        for method in ("human", "dynopool")
    )
    assert torch.equal(human.state_dict()["head.weight"], dynopool.state_dict()["head.weight"])
