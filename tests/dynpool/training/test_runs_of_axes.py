"""Runs of clips and of series: every method or its refusal, resuming, columns of their axes, and their comparison."""

import csv
import json

import pytest
import torch

import dynpool
from dynpool.analysis import compare_runs
from dynpool.analysis.comparison import read_run, write_report
from dynpool.training import checkpoint as checkpoints
from dynpool.training.config import RunConfig
from dynpool.training.config_file import load_config
from dynpool.training.data import load_data
from dynpool.training.errors import ConfigError
from dynpool.training.loop import prepare_model, train
from dynpool.training.methods import METHODS
from dynpool.training.restored import restored_model
from dynpool.training.subjects import subject_of_run
from tests.dynpool.training.runs import assert_same_run, rows

OF_IMAGES = {"resized", "shape-adaptor", "diffstride", "njet", "njet+dynopool", "flexconv"}
OPTIONS = [
    "--name=axes", "--data.train_images=16", "--data.shift=1", "--batch_size=8", "--epochs=2", "--lr=0.05",
    "--alpha_lr=0.3", "--alpha_until=0.5", "--device=cpu", "--threads=1",
]  # fmt: skip
DATA = {
    3: [
        "--data.name=digits-motion", "--data.resolution=12", "--data.test_fraction=0.05",
        "--model.options={axes: 3, widths: [2, 3, 4]}",
    ],
    1: ["--data.name=pulses", "--data.resolution=64", "--model.options={axes: 1, widths: [2, 3, 4]}"],
}  # fmt: skip
BUDGETS = {3: 0.0002, 1: 0.000008}  # GMACs


def run_of(out, *options, axes=3):
    return load_config(RunConfig, None, [*OPTIONS, *DATA[axes], "--out", str(out), *options])[0]


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("method", sorted(METHODS.keys() - OF_IMAGES))
def test_every_method_for_any_axes_trains(tmp_path, method, axes):
    budget = (f"--gmacs_budget={BUDGETS[axes]}",) if method in ("dynopool", "scaled", "random") else ()
    figures = train(run_of(tmp_path, f"--method={method}", "--epochs=1", *budget, axes=axes))
    last = rows(tmp_path)[-1]
    assert float(last["test_accuracy"]) == figures["test_accuracy"]
    assert all(len(size) == axes for size in json.loads(last["sizes"]).values())
    if budget:
        assert figures["gmacs"] == pytest.approx(BUDGETS[axes], rel=0.02)


@pytest.mark.parametrize("method", sorted(OF_IMAGES))
def test_methods_for_images_are_refused_by_name(tmp_path, method):
    with pytest.raises(ConfigError, match=r"method is .*allowed: human, fixed, .* as data.name is 'digits-motion'"):
        run_of(tmp_path / "run", f"--method={method}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "allowed"), [("mixup=0.2", "0"), ("cutmix=1", "0"), ("channels_last=true", "false")]
)
def test_other_settings_of_images_are_refused(tmp_path, option, allowed):
    with pytest.raises(ConfigError, match=rf"{option.partition('=')[0]} is .*allowed: {allowed}, as data.name"):
        run_of(tmp_path, f"--{option}")


def test_the_number_of_axes_of_the_network_is_that_of_the_data(tmp_path):
    with pytest.raises(ConfigError, match="cannot use model 'narrow-vgg'"):
        train(run_of(tmp_path, "--model.options={axes: 2}"))


@pytest.mark.parametrize("axes", [1, 3])
def test_only_runs_of_images_are_inspected(tmp_path, axes):
    name = DATA[axes][0].partition("=")[2]
    (tmp_path / "config.yaml").write_text(json.dumps({"data": {"name": name, "resolution": 64}}))
    with pytest.raises(ConfigError, match=f"data.name is '{name}'; allowed: those of images, not clips or series"):
        subject_of_run(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two epochs of the method dynopool on clips."""
    out = tmp_path_factory.mktemp("axes") / "run"
    train(run_of(out, "--checkpoint_every=1"))
    return out


def test_columns_of_receptive_fields_are_those_of_the_axes(trained):
    columns = [column for column in rows(trained)[0] if column.startswith("i_m")]
    assert columns == [f"{name}_{axis}" for name in ("i_min", "i_max", "i_max_local") for axis in "dhw"]
    lines = [json.loads(line) for line in (trained / "i_min.jsonl").read_text().splitlines()]
    for row, line in zip(rows(trained), lines, strict=True):
        assert [float(row[f"i_min_{axis}"]) for axis in "dhw"] == line["i_min"]


def test_figures_are_those_of_the_restored_network(trained):
    model, size = restored_model(trained)
    assert size == (1, 12, 12, 12)
    test = load_data(run_of(trained).data).test
    with torch.no_grad():
        clips, labels = next(iter(test.batches(len(test))))
        accuracy = (model.eval()(clips).argmax(1) == labels).double().mean()
    assert float(accuracy) == pytest.approx(float(rows(trained)[-1]["test_accuracy"]))
    learned = {name: list(size) for name, size in dynpool.sizes(model, (1, 12, 12, 12)).items()}
    assert learned == json.loads(rows(trained)[-1]["sizes"])


def test_a_resumed_run_is_that_without_a_break(trained, tmp_path):
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "metrics.csv", "i_min.jsonl"):
        (out / name).write_bytes((trained / name).read_bytes())
    first = checkpoints.epoch_path(trained, 1)
    checkpoints.last_path(out).write_bytes(first.read_bytes())
    train(run_of(out, "--checkpoint_every=1"), resume=True)
    assert_same_run(trained, out)


def test_random_sizes_differ_along_all_axes(tmp_path):
    config = run_of(tmp_path, "--method=random", "--model.options={axes: 3, widths: [2, 3]}")
    model = prepare_model(config, load_data(config.data)).model
    assert len(set(dynpool.sizes(model, (1, 12, 12, 12))["3"])) > 1


def test_a_report_has_all_axes(trained, tmp_path):
    comparison = compare_runs([trained])
    assert comparison.methods[0].i_min[0].mean == float(rows(trained)[-1]["i_min_d"])
    assert "I_min d" in str(comparison)
    assert "depth x height x width" in str(comparison)
    assert all(f'"i_min_{axis}": {{"mean":' in json.dumps(comparison.to_dict()) for axis in "dhw")
    assert "i_min_d,i_min_d_std,i_min_h" in comparison.to_csv()
    page = write_report(comparison, tmp_path).read_text()
    for said in (
        "(channels × depth × height × width)", "12×12×12", "<th>I<sub>min</sub><br>depth, height, width</th>",
        "Final sizes (depth × height × width) of: ", "stride of each resolution per epoch, depth and height and width",
        "The strip beside a map is its depth", "<dt>Image, pixel</dt>",
    ):  # fmt: skip
        assert said in page
    sizes = {name: list(size) for name, size in read_run(trained).last.sizes.items()}
    assert [json.loads(row["sizes"]) for row in csv.DictReader(comparison.to_csv().splitlines())] == [sizes] * 2


def test_a_report_of_series_has_one_axis(tmp_path):
    train(run_of(tmp_path / "run", axes=1))
    assert [name for name in rows(tmp_path / "run")[0] if name.startswith("i_min")] == ["i_min_l"]
    comparison = compare_runs([tmp_path / "run"])
    assert "I_min and sizes: length" in str(comparison)
    page = write_report(comparison, tmp_path / "report").read_text()
    assert "(channels × length)" in page
    assert "Final sizes (length) of: " in page
    assert "strip" not in page


def test_runs_of_other_axes_are_not_compared(trained, tmp_path):
    train(run_of(tmp_path / "run", "--method=human", "--epochs=1", axes=1))
    with pytest.raises(ValueError, match=r"different axes cannot be compared: .*run of 1x64, .*run of 1x12x12x12"):
        compare_runs([trained, tmp_path / "run"])
