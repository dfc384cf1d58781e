"""The files of a dataset are found, and what is wrong with its folder is said."""

import numpy as np
import pytest
import torch
from PIL import Image

from dynpool.training.config_sections import DataConfig
from dynpool.training.data import load_data
from dynpool.training.errors import DataError
from dynpool.training.image_files import aircraft_files, folder_files
from tests.dynpool.training.image_folders import image_folder


def test_a_folder_of_validation_images_serves_where_there_is_no_test_folder(tmp_path):
    root = image_folder(tmp_path / "images")
    expected = folder_files(DataConfig("folder", root=str(root)))
    (root / "test").rename(root / "val")
    found = folder_files(DataConfig("folder", root=str(root)))
    assert found.labels == expected.labels
    assert found.files["train"] == expected.files["train"]
    assert [path.parts[-3] for path in found.files["test"][:1]] == ["val"]
    (root / "val" / "class0").rename(root / "val" / "other")
    with pytest.raises(
        DataError, match=r"train/ and val/ have different classes: only train/ has class0; only val/ has"
    ):
        folder_files(DataConfig("folder", root=str(root)))


def test_images_in_no_class_folder_are_told_apart_from_those_deep_in_one(tmp_path):
    root = image_folder(tmp_path / "images")
    deep = root / "train" / "class0" / "more" / "deep.png"
    deep.parent.mkdir()
    (root / "train" / "class0" / "0.png").rename(deep)
    config = DataConfig("folder", root=str(root))
    assert folder_files(config).strays == ()
    assert deep in folder_files(config).files["train"]
    stray = root / "test" / "stray.png"
    (root / "test" / "class1" / "0.png").rename(stray)
    assert folder_files(config).strays == (stray,)


@pytest.fixture
def aircraft(tmp_path):
    """A dataset of two variants in the layout that torchvision unpacks."""
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    (data / "images").mkdir(parents=True)
    (data / "variants.txt").write_text("707-320\nCessna 172\n")
    for split, numbers in (("trainval", range(6)), ("test", range(6, 8))):
        names = [("707-320", "Cessna 172")[number % 2] for number in numbers]
        lines = [f"{number:07d} {name}\n" for number, name in zip(numbers, names, strict=True)]
        (data / f"images_variant_{split}.txt").write_text("".join(lines))
        for number in numbers:
            pixels = np.full((20, 30, 3), 100 * (number % 2) + number, dtype=np.uint8)
            Image.fromarray(pixels).save(data / "images" / f"{number:07d}.jpg", quality=95)
    return tmp_path


def test_aircraft_are_read_as_torchvision_does(aircraft, tmp_path):
    torchvision = pytest.importorskip("torchvision")
    found = aircraft_files(DataConfig("aircraft", root=str(aircraft)))
    for split, part in (("train", "trainval"), ("test", "test")):
        theirs = torchvision.datasets.FGVCAircraft(str(aircraft), split=part, annotation_level="variant")
        assert found.classes == tuple(theirs.classes)
        assert [(str(path), label) for path, label in zip(found.files[split], found.labels[split], strict=True)] == [
            (str(path), label) for path, label in zip(theirs._image_files, theirs._labels, strict=True)
        ]
    config = DataConfig("aircraft", root=str(aircraft), resolution=8, cache=str(tmp_path / "cache"))
    data = load_data(config)
    assert data.input_size == (3, 8, 8)
    means = data.train.images.float().mean((1, 2, 3))
    assert torch.equal(means > 90, data.train.labels == 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: (data / "images_variant_test.txt").unlink(), "images_variant_test.txt: cannot be read: No such"),
        (
            lambda data: (data / "variants.txt").write_text("707-320\n"),
            "trainval.txt: damaged: unknown variant 'Cessna",
        ),
        (lambda data: (data / "images_variant_test.txt").write_text(""), "images_variant_test.txt: damaged: no images"),
        (
            lambda data: (data / "images" / "0000003.jpg").unlink(),
            "0000003.jpg: no such file, though the dataset lists",
        ),
        (lambda data: data.rename(data.with_name("other")), "no folder fgvc-aircraft-2013b/data/ in it"),
    ],
)
def test_what_is_wrong_with_aircraft_is_named(aircraft, change, said):
    change(aircraft / "fgvc-aircraft-2013b" / "data")
    with pytest.raises(DataError, match=said):
        aircraft_files(DataConfig("aircraft", root=str(aircraft)))
    with pytest.raises(DataError, match=r"data.root is null; aircraft needs"):
        aircraft_files(DataConfig("aircraft"))
