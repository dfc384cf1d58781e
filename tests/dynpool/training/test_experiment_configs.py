"""Configurations of published experiments build their networks; digits forms have the fields of the CIFAR-10 forms."""

import itertools
from pathlib import Path

import pytest
import torch
import yaml

import dynpool
from dynpool.analysis import receptive_field
from dynpool.training.config import ComparisonConfig
from dynpool.training.config_file import load_config
from dynpool.training.config_sections import DataConfig, ModelConfig
from dynpool.training.models import build_model

CONFIGS = Path(__file__).parents[3] / "configs"
OF_DATA = ("upsampled", "canvas-sizes", "rescaled")
OF_NETWORKS = ("residuals", "vgg-depth", "vgg-fields", "resnet50-fields")


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_one_of_a_comparison_and_says_where_its_settings_come_from(path):
    config, _ = load_config(ComparisonConfig, path)
    short = path.parent.name == "short"
    assert config.name == path.stem + "-short" * short
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    ("name", "classes", "printed"),
    [  # Jang et al., CVPR 2022, Tables 1 to 3: GMACs of the human designs
        ("aircraft-vgg16", 100, 15.40), ("aircraft-resnet50", 100, 4.12), ("aircraft-mobilenetv2", 100, 0.33),
        ("imagenet-vgg16", 1000, 15.39), ("imagenet-resnet50", 1000, 4.11),
    ],
)  # fmt: skip
def test_networks_at_224_pixels_have_the_printed_cost(name, classes, printed):
    config, _ = load_config(ComparisonConfig, CONFIGS / f"{name}.yaml")
    with torch.device("meta"):
        network = build_model(config.model, num_classes=classes, in_channels=3)
    gmacs = dynpool.count_macs(network, (3, config.data.resolution, config.data.resolution)).gmacs
    assert gmacs == pytest.approx(printed, rel=0.13 if "mobilenet" in name else 0.025)


def test_hrnet_has_the_printed_cost_at_the_designed_and_at_the_printed_sizes():
    """Jang et al., CVPR 2022, Table 4, which also counts normalisations, activations and resizes."""
    config, _ = load_config(ComparisonConfig, CONFIGS / "voc-hrnet-w48.yaml")
    with torch.device("meta"):
        network = build_model(config.model, num_classes=21, in_channels=3, task=config.task)
    assert dynpool.count_macs(network, (3, 480, 480)).gmacs == pytest.approx(82.55, rel=0.01)
    learned = dynpool.convert(network, (3, 480, 480), order=config.conversion.order)
    printed = config.grid["fixed"]["start"]
    assert printed.keys() == dynpool.resolutions(learned).keys()
    dynpool.set_sizes(learned, {name: tuple(size) for name, size in printed.items()})
    assert dynpool.count_macs(learned, (3, 480, 480)).gmacs == pytest.approx(69.39, rel=0.01)


def test_scenes_are_twice_as_costly_as_designed():
    config, _ = load_config(ComparisonConfig, CONFIGS / "digits-scene.yaml")
    with torch.device("meta"):
        network = build_model(config.model, num_classes=11, in_channels=1, task=config.task)
    cost = dynpool.count_macs(network, (1, 64, 64)).gmacs
    for method in ("dynopool", "scaled", "random"):
        assert config.grid[method]["gmacs_budget"] == pytest.approx(2 * cost, rel=0.01)


def points(name):
    """The model and data sections of every grid point of a configuration, read without the library."""
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    grid = values["grid"]["human"]
    found = []
    for chosen in itertools.product(*grid.values()):
        sections = {"model": {"options": {}, **values["model"]}, "data": dict(values["data"])}
        sections["model"]["options"] = dict(sections["model"]["options"])
        for key, value in zip(grid, chosen, strict=True):
            *outer, last = key.split(".")
            section = sections
            for part in outer:
                section = section[part]
            section[last] = value
        found.append((ModelConfig(**sections["model"]), DataConfig(**sections["data"])))
    return found


def report(model, data):
    channels = 1 if data.name == "digits" else 3
    with torch.device("meta"):
        network = build_model(model, num_classes=10, in_channels=channels)
    return receptive_field(network, (channels, data.resolution, data.resolution))


@pytest.mark.parametrize("experiment", OF_NETWORKS)
def test_a_digits_form_has_the_fields_and_the_border_layers_of_the_cifar_form(experiment):
    pairs = list(zip(points(f"digits-{experiment}"), points(f"cifar10-{experiment}"), strict=True))
    for small, large in pairs[:: len(pairs) - 1]:
        ours, theirs = report(*small), report(*large)
        assert ours.unproductive == theirs.unproductive
        assert [(row.r_min, row.r_max) for row in ours.layers] == [(row.r_min, row.r_max) for row in theirs.layers]
        assert ours.total_parameters < theirs.total_parameters


@pytest.mark.parametrize("experiment", OF_DATA)
@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_experiments_on_data_have_one_network_and_distinct_images(data, experiment):
    found = points(f"{data}-{experiment}")
    networks = {yaml.safe_dump([model.name, model.options]) for model, _ in found}
    assert len(networks) == 1
    assert len({(images.resolution, images.detail) for _, images in found}) == len(found) > 1
    assert build_model(found[0][0], num_classes=10, in_channels=1)(torch.zeros(2, 1, 16, 16)).shape == (2, 10)


def test_the_border_layer_is_the_deeper_the_larger_the_images_are():
    borders = []
    for model, data in points("digits-upsampled"):
        found = report(model, data)
        borders.append(len(found.layers) - len(found.unproductive))
    assert borders == sorted(borders)
    assert borders[-1] > borders[0]


@pytest.mark.parametrize("data", ["digits", "cifar10"])
@pytest.mark.parametrize("experiment", OF_NETWORKS)
def test_every_network_takes_the_images(data, experiment):
    for model, images in points(f"{data}-{experiment}"):
        with torch.device("meta"):
            network = build_model(model, num_classes=10, in_channels=1)
            assert network(torch.zeros(2, 1, images.resolution, images.resolution)).shape == (2, 10)


@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_there_are_thirteen_combinations_of_cut_connections(data):
    cuts = [tuple(model.options["cut"]) for model, _ in points(f"{data}-residuals")]
    assert len(set(cuts)) == len(cuts) == 13
    assert () in cuts
    assert tuple(range(1, 9)) in cuts
