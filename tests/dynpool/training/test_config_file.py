"""Every key is known, typed and in range, or the error names it, its value and what is allowed."""

import argparse
import dataclasses
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml

import dynpool
from dynpool.training.config import ComparisonConfig, RunConfig
from dynpool.training.config_file import load_config, make_parser, run_config
from dynpool.training.config_identity import to_dict
from dynpool.training.data_config import Variant
from dynpool.training.errors import ConfigError
from dynpool.training.methods import METHODS, prepare
from dynpool.training.models import MODELS, build_model

CONTROLS = Path(__file__).parents[3] / "configs" / "digits-controls.yaml"
KERNELS = CONTROLS.with_name("digits-kernels.yaml")
CONFIGS = sorted((Path(__file__).parents[3] / "configs").rglob("*.yaml"))


def test_a_list_of_names_is_described_by_them(read):
    with pytest.raises(ConfigError, match=r"track is .*; allowed: a list of tensorboard, wandb, mlflow, trackio$"):
        read("name: a", "--track", "[nope]")


def test_file_then_options(read):
    config, flags = read(
        "epochs: 3\ndata: {variant: tile, resolution: 16}\nlr: 1e-3", "--data.variant", "large", "--resume"
    )
    assert (config.epochs, config.lr) == (3, 1e-3)
    assert (config.data.variant, config.data.resolution) == ("large", 16)
    assert flags == {"resume": True, "overwrite": False, "json_lines": False}


def test_model_options_are_merged(read):
    config, _ = read("model: {options: {widths: [1, 2], pool: 3}}", "--model.options.pool", "2")
    assert config.model.options == {"widths": [1, 2], "pool": 2}


def test_a_run_reads_a_comparison_and_says_which_keys_it_leaves_aside(read, caplog):
    text = "methods: [human]\nseeds: [4, 5]\nworkers: 2\nepochs: 7"
    assert read(text)[0].epochs == 7
    assert "methods, seeds, workers belong to a comparison and are ignored; this trains method dynopool" in caplog.text
    caplog.clear()
    assert read(text, "--json-lines")[1]["json_lines"]
    assert read("epochs: 7")[0].epochs == 7
    assert not caplog.text
    comparison, _ = read(text, kind=ComparisonConfig)
    assert (comparison.methods, comparison.seeds, comparison.workers) == (("human",), (4, 5), 2)


def test_settings_and_pairs_of_methods_that_an_option_leaves_out_are_left_out(read):
    text = (
        "methods: [human, dynopool, scaled]\ngrid: {scaled: {lr: [0.1, 0.2]}, dynopool: {alpha_lr: 0.2}}\n"
        "pairs: [[dynopool, human], [scaled lr=0.1, human]]"
    )
    for options in (["--methods", "[human, dynopool]"], ["--methods=[human,dynopool]"]):
        config, _ = read(text, *options, kind=ComparisonConfig)
        assert (config.grid, config.pairs) == ({"dynopool": {"alpha_lr": 0.2}}, (("dynopool", "human"),))
    config, _ = read(text, "--methods", "[human]", kind=ComparisonConfig)
    assert (config.grid, config.pairs) == ({}, None)
    assert len(read(text, kind=ComparisonConfig)[0].grid) == 2
    with pytest.raises(ConfigError, match="grid is 'scaled'; allowed: the methods compared: human"):
        read("methods: [human]\ngrid: {scaled: {lr: 1}}", kind=ComparisonConfig)
    with pytest.raises(ConfigError, match="methods"):
        read(text, "--methods", "[human", kind=ComparisonConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.name: resnet18", "unknown key 'model.name'; write model: {name: ...} in a file"),
        ("epoch: 3", "unknown key 'epoch'; did you mean 'epochs'"),
        ("data: {variants: tile}", "unknown key 'data.variants'; did you mean 'data.variant'"),
        ("variant: tile", "unknown key 'variant'; did you mean 'data.variant'"),
        ("qqq: 1", "unknown key 'qqq'; known: name, method"),
        ("data: 3", "data is 3; allowed: a mapping"),
        ("", "the file has no configuration"),
        ("- a", "the file has no configuration"),
        ("epochs: 3\nepochs: 4", "'epochs' is given twice"),
        ("lr: [", "not valid YAML"),
        ("? [a]\n: 1", "not valid YAML"),
        ("name: 2020-13-45", "not valid YAML"),
        ("model: &m {options: {a: *m}}", "not valid YAML: Circular reference"),
        ("conversion: {max_gmacs: .inf}", "conversion.max_gmacs is inf; allowed: null, or a finite number above 0"),
        ("diffstride: {smoothness: .inf}", "diffstride.smoothness is inf; allowed: a finite number above 0"),
        ("random: {spread: .inf}", "random.spread is inf; allowed: a finite number above 1"),
        ("epochs: null", "epochs is null; allowed: a whole number"),
        ("epochs: 2.5", "epochs is '2.5'; allowed: a whole number"),
        (
            "{gmacs_budget: 2, alpha_until: 0.5, conversion: {max_gmacs: 1}}",
            "gmacs_budget is 2.0; allowed: at most conversion.max_gmacs, which is 1.0",
        ),
        ("epochs: 0", "epochs is 0; allowed: a whole number, 1 or more"),
        ("data: {variant: til}", "data.variant is 'til'; allowed: one of plain, stretch, tile, large, canvas"),
        ("lr: .nan", "lr is nan; allowed: a finite number"),
        ("seed: true", "seed is 'true'; allowed: a whole number"),
        ("{epochs: 3, warmup_epochs: 4}", "warmup_epochs is 4.0; allowed: 0 up to the number of epochs, which is 3"),
        ("lr: -1", "lr is -1.0; allowed: a finite number"),
        ("input_size: [3, wide]", "[3, 'wide']\"; allowed: null or a list of whole numbers"),
        ("input_size: [3]", "input_size is [3]; allowed: null, or two to four whole numbers above 0"),
        ("data: {resolution: 30, variant: tile}", "data.resolution is 30; allowed: a multiple of 4"),
        ("data: {channels: 2}", "data.channels is 2; allowed: null, 1 or 3"),
        ("name: a/b", "name is 'a/b'; allowed"),
        ("momentum: 1", "momentum is 1.0; allowed"),
    ],
)
def test_bad_files(read, tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        read(text)
    assert message in str(error.value)
    assert str(tmp_path / "c.yaml") in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epoch", "3"], "unknown option '--epoch'; did you mean '--epochs'"),
        (["--data.varian", "tile"], "did you mean '--data.variant'"),
        (["--variant", "tile"], "did you mean '--data.variant'"),
        (["--epochs", "x"], "--epochs is 'x'; allowed: a whole number"),
        (["--epochs=0"], "--epochs is 0; allowed: a whole number, 1 or more"),
        (["--model", "vgg"], "--model is 'vgg'; allowed: a section with the keys model.name, model.options"),
        (["--gmacs_budget", "1"], "c.yaml with --gmacs_budget: alpha_until is 1.0; allowed: a number below 1 if"),
        (["--epochs"], "--epochs: expected one argument"),
        (["--seeds", "[1]"], "unknown option '--seeds'"),
        (["--resume", "--overwrite"], "cannot be given together"),
        (["stray"], "stray"),
    ],
)
def test_bad_options(read, options, message):
    with pytest.raises(ConfigError) as error:
        read("epochs: 3", *options)
    assert message in str(error.value)
    assert ("c.yaml" in str(error.value)) == ("c.yaml" in message), "the file is not to blame"


@pytest.mark.parametrize("kind", [RunConfig, ComparisonConfig])
def test_help_has_a_sentence_for_every_key(kind):
    parser = make_parser(kind, "train")
    options = {action.dest: action.help for action in parser._actions if action.help != argparse.SUPPRESS}
    keys = options.keys() - {"help", "resume", "overwrite"}
    assert {"method", "seed", "grid_point"} & keys == ({"method", "seed", "grid_point"} if kind is RunConfig else set())
    assert keys >= {"epochs", "data.variant", "model.options", "conversion.max_gmacs"}
    assert [key for key in sorted(keys) if len((options[key] or "").split()) < 3] == []
    for key, names in (("method", METHODS), ("model.name", MODELS), ("data.variant", get_args(Variant))):
        assert key not in keys or all(name in (options[key] or "") for name in names)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_config(RunConfig, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(RunConfig, tmp_path)


def test_a_written_configuration_is_read_back_the_same(read):
    config, _ = read("epochs: 3\ninput_size: [1, 32, 32]\nmodel: {options: {widths: [1, 2]}}\nlr: 1e-5")
    assert read(yaml.safe_dump(to_dict(config)))[0] == config


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: "-".join(f.parts[f.parts.index("configs") + 1 :]))
def test_shipped_configurations_are_valid(file):
    comparison, _ = load_config(ComparisonConfig, file)
    short = file.parent.name == "short"
    assert comparison.name == file.stem + "-short" * short
    assert load_config(RunConfig, file)[0].epochs == comparison.epochs
    if short:
        full, _ = load_config(ComparisonConfig, file.parents[1] / file.name)
        assert (comparison.model, comparison.data, comparison.methods) == (full.model, full.data, full.methods)
        assert comparison.epochs < full.epochs


def test_there_are_shipped_configurations_of_all_methods():
    digits = {f"digits-{variant}" for variant in get_args(Variant)}
    cifar = {f"{data}-{net}" for data in ("cifar10", "cifar100") for net in ("vgg16", "resnet50", "mobilenetv2")}
    assert digits | cifar <= {f.stem for f in CONFIGS}
    assert {name for name in cifar if "cifar10-" in name} == {f.stem for f in CONFIGS if f.parent.name == "short"}
    kernels = {name for name in METHODS if name.startswith(("njet", "flexconv"))}
    assert kernels <= set(load_config(ComparisonConfig, KERNELS)[0].methods)
    for file in CONFIGS:
        if file.stem in digits | cifar:
            own_cost = (
                set(METHODS) - {"scaled", "resized"} - kernels
            )  # controls at the cost of another; learned kernels
            assert set(yaml.safe_load(file.read_text())["methods"]) == own_cost, file
    assert {"scaled", "resized"} <= set(load_config(ComparisonConfig, CONTROLS)[0].methods)


def distinct_comparisons():
    """A configuration of each resolution and list of methods, of embedded data; others differ in the images only."""
    embedded = [file for file in CONFIGS if file.stem.startswith(("digits", "series"))]
    content = {file: yaml.safe_load(file.read_text()) for file in embedded}
    return list({(c["data"]["resolution"], *c["methods"]): file for file, c in content.items()}.values())


@pytest.mark.usefixtures("undrawn_vgg")
@pytest.mark.parametrize("file", distinct_comparisons(), ids=lambda file: file.stem)
def test_every_method_of_a_digits_configuration_is_ready_to_train_and_resizes(file):
    comparison, _ = load_config(ComparisonConfig, file)
    side = comparison.data.resolution
    size = (1, *[side] * comparison.data.axes)
    for point in comparison.points():
        config = run_config(comparison, point, 0)
        if config.match is not None:
            cost = dynpool.count_macs(
                build_model(config.model, num_classes=10, in_channels=1, task=config.task), size
            ).gmacs
            config = dataclasses.replace(config, gmacs_budget=1.2 * cost)
        model = prepare(build_model(config.model, num_classes=10, in_channels=1, task=config.task), config, size).model
        smallest = min(max(pixels) for pixels in dynpool.sizes(model, size).values())
        larger = point.method == "diffstride" or isinstance(point.values.get("gmacs_budget"), float)  # its maps are
        assert smallest < (side if larger else side / 2), point.method
        scores = model(torch.zeros(2, *size))
        assert scores.shape == (2, 10) if config.task == "classification" else scores.shape[:2] == (2, 10)
