"""Images are the same for the same configuration, batches for the same (seed, epoch); bad datasets are refused."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from dynpool.training.config_sections import DataConfig
from dynpool.training.data import load_data
from dynpool.training.errors import DataError
from dynpool.training.seeding import generator_for
from dynpool.training.variants import VARIANTS


@pytest.fixture
def tree(tmp_path):
    """A small image tree: class 'dark' below 'light', of odd sizes."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(("dark", "light")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(128 * label, 128 * label + 60, (20 + i, 33, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


def test_digits_split_is_fixed_complete_and_balanced():
    first, second = (load_data(DataConfig()) for _ in range(2))
    assert torch.equal(first.test.images, second.test.images)
    assert first.input_size == (1, 32, 32)
    assert len(first.train) + len(first.test) == 1797
    assert torch.bincount(first.test.labels).tolist() == pytest.approx([45] * 10, abs=2)
    test = {image.numpy().tobytes() for image in load_data(DataConfig(resolution=8)).test.images}
    train = [image.numpy().tobytes() for image in load_data(DataConfig(resolution=8)).train.images]
    assert sum(image in test for image in train) == 0


def test_fewer_training_images_are_of_every_class_and_beside_the_same_validation_images():
    few = load_data(DataConfig(resolution=8, validation=200, train_images=300))
    all_of_them = load_data(DataConfig(resolution=8, validation=200))
    assert torch.equal(few.test.images, all_of_them.test.images)
    assert len(few.train) == 300
    assert torch.bincount(few.train.labels).tolist() == pytest.approx([30] * 10, abs=2)
    whole = {image.numpy().tobytes() for image in all_of_them.train.images}
    assert all(image.numpy().tobytes() in whole for image in few.train.images)
    again = load_data(DataConfig(resolution=8, validation=200, train_images=300))
    assert torch.equal(few.train.images, again.train.images)
    total = len(load_data(DataConfig()).train)
    assert len(load_data(DataConfig(train_images=total)).train) == total
    with pytest.raises(
        DataError, match=rf"data\.train_images is {total + 9}, which takes \d+ of the \d+ training images"
    ):
        load_data(DataConfig(train_images=total + 9))


@pytest.mark.parametrize(("share", "taken"), [(0.999, 178), (0.001, 0)])
def test_a_split_without_images_of_a_class_is_refused(share, taken):
    with pytest.raises(
        DataError, match=f"test_fraction is {share}, which takes {taken} of the 178 images of class '0'"
    ):
        load_data(DataConfig(test_fraction=share))


@pytest.mark.parametrize("share", [0.2, 270])
def test_validation_images_are_training_images_of_every_class_and_no_test_images(share):
    held = load_data(DataConfig(resolution=8, validation=share))
    whole = load_data(DataConfig(resolution=8))
    total = len(whole.train)
    assert len(held.test) == (share if share > 1 else round(share * total))
    counts = torch.bincount(whole.train.labels)
    assert (torch.bincount(held.test.labels) - counts * len(held.test) / total).abs().max() <= 1

    def pixels(part):
        return sorted(zip([image.numpy().tobytes() for image in part.images], part.labels.tolist(), strict=True))

    assert pixels(held.train) + pixels(held.test) != pixels(whole.train)
    assert sorted(pixels(held.train) + pixels(held.test)) == pixels(whole.train)
    again = load_data(DataConfig(resolution=8, validation=share))
    assert torch.equal(again.test.images, held.test.images)
    values = held.train.normalised(held.train.images)
    assert values.mean().item() == pytest.approx(0, abs=1e-4), "moments of the images that remain"


def test_images_keep_their_random_places_when_others_are_held_out():
    whole, held = (load_data(DataConfig(variant="canvas", resolution=16, validation=v)).train for v in (None, 0.3))
    kept = {image.numpy().tobytes() for image in whole.images}
    assert all(image.numpy().tobytes() in kept for image in held.images)


@pytest.mark.parametrize(("share", "said"), [(0.01, "0.01, which takes 0"), (12, "12, which takes 6")])
def test_every_class_needs_images_on_both_sides(tree, tmp_path, share, said):
    config = DataConfig("folder", root=str(tree), resolution=8, cache=str(tmp_path / "cache"), validation=share)
    with pytest.raises(DataError, match=rf"data.validation is {said} of the 6 training images of class 'dark'"):
        load_data(config)
    assert len(load_data(replace(config, validation=2)).test) == 2


def test_training_images_are_normalised():
    train = load_data(DataConfig(resolution=8)).train
    values = train.normalised(train.images)
    assert values.mean().item() == pytest.approx(0, abs=1e-4)
    assert values.std().item() == pytest.approx(1, abs=1e-3)


def test_channels():
    grey = load_data(DataConfig(resolution=8)).train.images
    colour = load_data(DataConfig(resolution=8, channels=3)).train.images
    assert torch.equal(colour, grey.expand(-1, 3, -1, -1))


def test_image_tree(tree, tmp_path):
    data = load_data(DataConfig(name="folder", root=str(tree), resolution=16, cache=str(tmp_path / "cache")))
    assert data.classes == ("dark", "light")
    assert data.input_size == (3, 16, 16)
    assert (len(data.train), len(data.test)) == (12, 4)
    means = data.train.images.float().mean((1, 2, 3))
    assert ((means > 100) == (data.train.labels == 1)).all()


def test_image_tree_is_decoded_once_and_again_when_it_changes(tree, tmp_path, monkeypatch):
    config = DataConfig(name="folder", root=str(tree), resolution=16, cache=str(tmp_path / "cache"))
    first = load_data(config)
    calls = []
    original = Image.open

    def counting(*args, **options):
        calls.append(args)
        return original(*args, **options)

    monkeypatch.setattr(Image, "open", counting)
    assert torch.equal(load_data(config).train.images, first.train.images)
    assert calls == []
    Image.new("RGB", (30, 30), (255, 0, 0)).save(tree / "train" / "light" / "new.png")
    assert len(load_data(config).train) == 13
    assert len(calls) == 17


def test_hidden_folders_are_no_classes_and_links_to_nothing_are_named(tree, tmp_path):
    config = DataConfig(name="folder", root=str(tree), resolution=16, cache=str(tmp_path / "cache"))
    (tree / "train" / ".git").mkdir()
    assert load_data(config).classes == ("dark", "light")
    link = tree / "train" / "dark" / "link.png"
    link.symlink_to("nowhere.png")
    with pytest.raises(DataError, match=f"^{link}: cannot be read: No such file"):
        load_data(config)


@pytest.mark.parametrize("variant", ["large", "canvas"])
def test_image_trees_are_decoded_at_the_detail(tree, tmp_path, variant):
    config = DataConfig("folder", root=str(tree), resolution=12, cache=str(tmp_path / "cache"))
    small = load_data(config).train.images
    found = load_data(replace(config, variant=variant, detail=12, resolution=30)).train.images
    assert torch.equal(found, VARIANTS[variant](small, 30, generator_for(variant, "train"), 12))


def test_digits_of_one_detail_are_the_same_objects_on_every_canvas():
    for side in (16, 21):
        data = load_data(DataConfig(variant="canvas", detail=8, resolution=side))
        assert data.input_size == (1, side, side)
        plain = load_data(DataConfig(resolution=8))
        assert torch.equal(data.test.images.long().sum((1, 2, 3)), plain.test.images.long().sum((1, 2, 3)))
        assert torch.equal(data.test.labels, plain.test.labels)


def test_images_in_no_class_folder_are_told(tree, tmp_path, caplog):
    config = DataConfig(name="folder", root=str(tree), resolution=16, cache=str(tmp_path / "cache"))
    load_data(config)
    assert not caplog.text
    Image.new("RGB", (30, 30)).save(tree / "train" / "stray.png")
    (tree / "train" / "dark" / "changed.png").write_bytes((tree / "train" / "stray.png").read_bytes())
    assert len(load_data(config).train) == 13
    assert f"image files in no class folder are not used (1, first: {tree / 'train' / 'stray.png'})" in caplog.text


def remove(*parts):
    def change(root):
        import shutil

        shutil.rmtree(root.joinpath(*parts))

    return change


def one_class(root):
    remove("train", "dark")(root)
    remove("test", "dark")(root)


def file_in_its_place(root):
    remove()(root)
    root.touch()


def write(*parts):
    def change(root):
        root.joinpath(*parts).parent.mkdir(parents=True, exist_ok=True)
        root.joinpath(*parts).write_bytes(b"no image")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove(), "no such folder"),
        (file_in_its_place, "a file, not a folder"),
        (remove("test"), r"no folder test/ \(found: train\); expected ROOT/train/CLASS"),
        (one_class, "1 class folder, at least two are needed"),
        (remove("test", "dark"), "train/ and test/ have different classes: only train/ has dark"),
        (write("train", "empty", "notes.txt"), "no image files"),
        (write("train", "dark", "broken.png"), r"broken\.png: cannot be decoded"),
    ],
)
def test_bad_image_trees(tree, tmp_path, change, message):
    change(tree)
    with pytest.raises(DataError, match=message):
        load_data(DataConfig(name="folder", root=str(tree), resolution=16, cache=str(tmp_path / "cache")))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "folder"])
def test_a_root_is_needed(name):
    with pytest.raises(DataError, match=r"data\.root is null"):
        load_data(DataConfig(name=name))


def test_missing_cifar_says_where_to_put_it(tmp_path):
    with pytest.raises(DataError, match=r"no folder cifar-10-batches-py/ in it.*data\.download"):
        load_data(DataConfig(name="cifar10", root=str(tmp_path)))


def test_damaged_cifar(tmp_path):
    inner = tmp_path / "cifar-10-batches-py"
    inner.mkdir()
    (inner / "data_batch_1").write_bytes(pickle.dumps({}))
    with pytest.raises(DataError, match="damaged or incomplete"):
        load_data(DataConfig(name="cifar10", root=str(tmp_path), cache=str(tmp_path / "cache")))


def test_cifar_through_torchvision(tmp_path, monkeypatch):
    """torchvision reads its own layout; here a small one with matching checksums."""
    import hashlib

    import torchvision

    inner = tmp_path / "cifar-10-batches-py"
    inner.mkdir()
    rng = np.random.default_rng(0)
    kind = torchvision.datasets.CIFAR10
    sums = {}
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        content: dict[str, object] = (
            {"label_names": list("abcdefghij")}
            if name == "batches.meta"
            else {"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": list(range(10))}
        )
        (inner / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((inner / name).read_bytes()).hexdigest()
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": sums["batches.meta"]})
    data = load_data(DataConfig(name="cifar10", root=str(tmp_path), cache=str(tmp_path / "cache")))
    raw = pickle.loads((inner / "data_batch_1").read_bytes())["data"].reshape(10, 3, 32, 32)
    assert torch.equal(data.train.images, torch.from_numpy(raw))
    assert data.train.labels.tolist() == list(range(10))
