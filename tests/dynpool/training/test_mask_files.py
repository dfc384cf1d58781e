"""Images and masks are found in the layouts of VOC, SBD and any two folders; what is missing is named."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from dynpool.training.data_config import DataConfig
from dynpool.training.errors import DataError
from dynpool.training.mask_files import MASKED_LISTINGS, VOC_CLASSES, read_mask
from tests.dynpool.training.mask_folders import CLASSES, drawn_pair, mask_folder


def listed(name, root, **keys):
    config = DataConfig(name, root=str(root), stream=True, normalise="imagenet", **keys)
    return MASKED_LISTINGS[name](config)


def test_pairs_of_folders(tmp_path):
    found = listed("mask-folder", mask_folder(tmp_path))
    assert found.classes == CLASSES
    assert [image.stem for image, _ in found.pairs["train"]] == [mask.stem for _, mask in found.pairs["train"]]
    assert [path.name for _, path in found.pairs["test"]] == [f"{k}.png" for k in range(6)]
    (tmp_path / "test").rename(tmp_path / "val")
    assert len(listed("mask-folder", tmp_path).pairs["test"]) == 6


def test_what_is_missing_in_folders_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.root is null"):
        MASKED_LISTINGS["mask-folder"](DataConfig("mask-folder", stream=True, normalise="imagenet"))
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        listed("mask-folder", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"classes.txt: cannot be read: No such file"):
        listed("mask-folder", tmp_path)
    root = mask_folder(tmp_path / "data")
    (root / "train" / "masks" / "3.png").unlink()
    with pytest.raises(DataError, match=r"masks.3.png: no such file"):
        listed("mask-folder", root)
    (root / "classes.txt").write_text("alone\n")
    with pytest.raises(DataError, match="1 classes; allowed: 2 to 255"):
        listed("mask-folder", root)


def test_two_images_of_one_mask_are_refused_and_masks_without_an_image_told(tmp_path, caplog):
    root = mask_folder(tmp_path)
    next((root / "train" / "images").glob("3.*")).unlink()
    assert "3" not in [image.stem for image, _ in listed("mask-folder", root).pairs["train"]]
    assert "1 masks without an image are left out: 3" in caplog.text
    image = next((root / "test" / "images").glob("0.*"))
    (image.parent / "0.bmp").write_bytes(image.read_bytes())
    with pytest.raises(DataError, match=r"images: two images of the name 0, but one mask: 0\.png"):
        listed("mask-folder", root)


def test_the_layout_of_voc(tmp_path):
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for split, names in (("train", ("a", "b")), ("val", ("c",))):
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
        for number, name in enumerate(names):
            image, mask = drawn_pair(number)
            Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.jpg")
            palette = Image.fromarray(mask, mode="P")
            palette.putpalette(list(range(256)) * 3)
            palette.save(folder / "SegmentationClass" / f"{name}.png")
    found = listed("voc", tmp_path)
    assert found.classes == VOC_CLASSES
    assert len(VOC_CLASSES) == 21
    assert {split: [image.stem for image, _ in pairs] for split, pairs in found.pairs.items()} == {
        "train": ["a", "b"], "test": ["c"],
    }  # fmt: skip
    assert np.array_equal(read_mask(found.pairs["train"][1][1], 21), drawn_pair(1)[1])
    with pytest.raises(DataError, match=r"no folder .*VOC2012.*--data.download true"):
        listed("voc", tmp_path / "VOCdevkit")


def test_the_layout_of_sbd(tmp_path):
    for part in ("img", "cls"):
        (tmp_path / part).mkdir()
    for split, name in (("train", "x"), ("val", "y")):
        image, mask = drawn_pair(0)
        (tmp_path / f"{split}.txt").write_text(f"{name}\n")
        Image.fromarray(image).save(tmp_path / "img" / f"{name}.jpg")
        savemat(tmp_path / "cls" / f"{name}.mat", {"GTcls": {"Segmentation": mask}})
    found = listed("sbd", tmp_path)
    assert found.pairs["test"] == ((tmp_path / "img" / "y.jpg", tmp_path / "cls" / "y.mat"),)
    assert np.array_equal(read_mask(found.pairs["test"][0][1], 21), drawn_pair(0)[1])


def test_masks_that_cannot_be_read_are_named(tmp_path):
    _, mask = drawn_pair(1)
    Image.fromarray(mask).save(tmp_path / "grey.png")
    assert np.array_equal(read_mask(tmp_path / "grey.png", 3), mask)
    with pytest.raises(DataError, match=r"grey.png: pixels of class 2; allowed: 0 to 1, and 255"):
        read_mask(tmp_path / "grey.png", 2)
    Image.fromarray(np.stack([mask] * 3, axis=2)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"colour.png: cannot be decoded: a mask of mode RGB"):
        read_mask(tmp_path / "colour.png", 3)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    (tmp_path / "broken.mat").write_bytes(b"nothing" * 100)
    for name in ("broken.png", "broken.mat", "missing.png"):
        with pytest.raises(DataError, match=f"{name}: cannot be decoded"):
            read_mask(tmp_path / name, 3)
