"""Keys of data that do not fit together are refused, with what is allowed."""

from typing import Any

import pytest

from dynpool.training.data_config import SEGMENTED, DataConfig
from dynpool.training.errors import ConfigError

FILES: dict[str, Any] = {"stream": True, "normalise": "imagenet"}


def test_the_task_follows_from_the_dataset():
    assert DataConfig().task == "classification"
    for name in SEGMENTED:
        section: dict[str, Any] = {"name": name} | (FILES if name != "digits-scene" else {})
        assert DataConfig(**section).task == "segmentation"


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("digits", {"scale": (0.5, 2.0)}, "data.scale is .*null, unless data.name is one of digits-scene, mask-folder"),
        ("digits", {"test": "sliding"}, "data.test is 'sliding'; allowed: whole, unless"),
        ("digits-scene", {"test": "sliding"}, "data.test is 'sliding'; allowed: whole, as data.name is digits-scene"),
        ("digits-scene", {"scale": (2.0, 0.5)}, "data.scale is .*rising"),
        ("digits-scene", {"scale": (0.0, 0.5)}, "data.scale is .*above 0"),
        ("digits-scene", {"resolution": 16}, "data.resolution is 16; allowed: 32 or more"),
        ("digits-scene", {"variant": "tile"}, "data.variant is 'tile'; allowed: plain, as data.name is digits-scene"),
        ("digits-scene", {"shift": 2}, "data.shift is 2; allowed: 0"),
        ("digits-scene", {"crop": 0.5}, "data.crop is 0.5; allowed: null"),
        ("digits-scene", {"rand_augment": 3}, "data.rand_augment is 3; allowed: null"),
        ("digits-scene", {"erase": 0.5}, "data.erase is 0.5; allowed: 0"),
        ("digits-scene", {"stream": True, "normalise": "imagenet"}, "data.stream is True"),
        ("digits-scene", {"root": "data"}, "data.root is 'data'; allowed: null, as data.name is digits-scene"),
        ("digits", {"root": "data"}, "data.root is 'data'; allowed: null, as data.name is digits"),
        ("digits", {"download": True}, "data.download is True; allowed: false, as data.name is digits"),
        ("digits-motion", {"root": "data"}, "data.root is 'data'; allowed: null, as data.name is digits-motion"),
        ("digits-motion", {"resolution": 65}, "data.resolution is 65; allowed: 12 to 64, as data.name"),
        ("digits-motion", {"rand_augment": 3}, "data.rand_augment is 3; allowed: null, as data.name is digits-motion"),
        ("pulses", {"resolution": 64, "download": True}, "data.download is True; allowed: false, as data.name"),
        ("pulses", {"resolution": 64, "test_fraction": 0.5}, "data.test_fraction is 0.5; allowed: 0.25, as"),
        ("voc", {}, "data.stream is False; allowed: true, as data.name is voc"),
        ("mask-folder", {"stream": True}, "data.stream is True; allowed: false, unless .*data.normalise imagenet"),
    ],
)
def test_what_does_not_fit_is_refused(name, keys, said):
    with pytest.raises(ConfigError, match=said):
        DataConfig(name, **keys)


def test_what_fits_is_taken():
    DataConfig("digits-scene", resolution=48, scale=(0.5, 2.0), flip=True)
    DataConfig("digits-motion", resolution=64, test_fraction=0.5)
    DataConfig("pulses", resolution=4096)
    DataConfig("mask-folder", scale=(1.0, 1.0), test="sliding", **FILES)
