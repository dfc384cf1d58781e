"""Objects are connected parts of one class, and what is written is read back."""

import numpy as np
import torch
from torch import nn

from dynpool.analysis.comparison.examples import read_examples
from dynpool.training import examples
from dynpool.training.examples import component_sizes, write_examples
from dynpool.training.moments import moments
from dynpool.training.segmentation import IGNORED
from dynpool.training.splits import Dataset, Images


def test_objects_are_connected_parts_of_one_class():
    mask = torch.tensor(
        [
            [1, 1, 0, 2, 0, 0],
            [0, 0, 1, 2, 0, 3],
            [0, 0, 0, 2, 255, 0],
            [3, 3, 3, 0, 0, 0],
        ],
        dtype=torch.uint8,
    )
    assert sorted(component_sizes(mask)) == [(1, 1), (1, 3), (2, 3), (3, 1)]
    assert component_sizes(torch.zeros(3, 3, dtype=torch.uint8)) == []


class Branches(nn.Module):
    """Two layers on large maps, and one on small maps, to which a short path, a long and a global one lead."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, (3, 5), padding=(1, 2)), nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 3, 3, padding=1, stride=2)

    def forward(self, x):
        x = self.first(x)
        return self.last(x + self.second(x) + x.mean((2, 3), keepdim=True))


def test_what_is_written_is_read_back(tmp_path):
    images = torch.randint(0, 256, (10, 1, 8, 12), dtype=torch.uint8)
    masks = torch.randint(0, 3, (10, 8, 12), dtype=torch.uint8)
    masks[:, 0] = IGNORED
    split = Images(masks, *moments(images), images)
    torch.manual_seed(0)
    network = Branches().eval()
    write_examples(tmp_path / "predictions.npz", network, Dataset(split, split, ("a", "b", "c")))
    found = read_examples(tmp_path)
    assert found is not None
    order = [int((images == torch.from_numpy(image)).flatten(1).all(1).nonzero()[0, 0]) for image in found.images]
    assert len(set(order)) == 6
    assert np.array_equal(found.masks, masks[order].numpy())
    with torch.no_grad():
        scores = nn.functional.interpolate(network(split.normalised(images[order])), (8, 12), mode="bilinear")
    assert np.array_equal(found.predicted, scores.argmax(1).numpy())
    assert sorted(map(tuple, found.objects.tolist())) == sorted(
        size for mask in masks for size in component_sizes(mask)
    )
    assert found.classes == ("a", "b", "c")
    # height and width of maps, then of the largest r_min and the largest local r_max on them
    assert found.fields.tolist() == [[8, 12, 5, 7, 5, 7], [4, 6, 5, 7, 7, 9]]
    (tmp_path / "predictions.npz").write_bytes(b"damaged")
    assert read_examples(tmp_path) is None


def test_objects_are_measured_in_so_many_masks(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "BATCH", 2)
    monkeypatch.setattr(examples, "MEASURED", 4)
    masks = torch.zeros(10, 8, 8, dtype=torch.uint8)
    for number, mask in enumerate(masks):
        mask[1, : number % 8 + 1] = 1
    images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    split = Images(masks, *moments(images + torch.arange(8, dtype=torch.uint8)), images)
    write_examples(tmp_path / "predictions.npz", nn.Conv2d(1, 2, 3, padding=1), Dataset(split, split, ("a", "b")))
    found = read_examples(tmp_path)
    assert found is not None
    drawn = [mask for _, batch in list(split.batches(2, seed=0))[:2] for mask in batch]
    assert found.objects.tolist() == [[1, int(mask.sum())] for mask in drawn]
    assert len(found.images) == 2
