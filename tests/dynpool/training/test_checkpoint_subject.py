"""A checkpoint's images are those of the folder, normalised as asked; what it is made from decides what is kept."""

import pytest
import torch

from dynpool.training.checkpoint_subject import folder_of_images, subject_of_checkpoint
from dynpool.training.errors import ConfigError, DataError
from dynpool.training.moments import IMAGENET
from tests.analysis.representations.small import network
from tests.dynpool.training.image_folders import image_folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_images_are_normalised_as_asked(tmp_path):
    root = image_folder(tmp_path / "data")
    own = folder_of_images(root, (1, 12, 12), normalise="folder")
    images = torch.cat([x for x, _ in own.train.batches(10)])
    assert (own.input_size, len(own.train), len(own.test), len(own.classes)) == ((1, 12, 12), 36, 36, 3)
    assert images.mean().item() == pytest.approx(0, abs=1e-4)
    assert images.std(unbiased=False).item() == pytest.approx(1, abs=1e-3)
    known = folder_of_images(root, (3, 12, 12), normalise="imagenet").train
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    torch.testing.assert_close(known.normalised(known.images[:1])[0], (known.images[0] / 255 - mean) / std)


@pytest.mark.parametrize(
    ("size", "normalise", "said"),
    [
        ((3, 12, 16), "folder", "--input-size is 3x12x16; allowed .* square"),
        ((2, 12, 12), "folder", "1 or 3 channels"),
        ((1, 12, 12), "imagenet", "moments of three channels"),
    ],
)
def test_other_sizes_are_errors(tmp_path, size, normalise, said):
    root = image_folder(tmp_path / "data", images=1)
    with pytest.raises(ConfigError, match=said):
        folder_of_images(root, size, normalise=normalise)
    with pytest.raises(DataError, match="no such folder"):
        folder_of_images(tmp_path / "none", (1, 12, 12), normalise="folder")


def test_the_digest_follows_the_weights_and_the_images(tmp_path):
    root, file = image_folder(tmp_path / "data"), tmp_path / "net.pt"
    data = folder_of_images(root, (1, 12, 12), normalise="folder")
    model = network()

    def digest(dataset):
        torch.save(model.state_dict(), file)
        return subject_of_checkpoint("net", model, file, root, dataset).digest

    first = digest(data)
    assert digest(data) == first
    data.test.images[0, 0, 0, 0] += 1
    other = digest(data)
    assert other != first
    with torch.no_grad():
        model[0].weight.add_(1)
    assert digest(data) not in (first, other)
    subject = subject_of_checkpoint("net", model, file, root, data)
    assert subject.config is None
    assert subject.load()[0] is model
