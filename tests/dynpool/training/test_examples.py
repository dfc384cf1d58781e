"""Objects are connected parts of one class, and what is written is read back."""

import numpy as np
import torch
from torch import nn

from dynpool.analysis.comparison.examples import read_examples
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


def test_what_is_written_is_read_back(tmp_path):
    images = torch.randint(0, 256, (10, 1, 8, 8), dtype=torch.uint8)
    masks = torch.randint(0, 3, (10, 8, 8), dtype=torch.uint8)
    masks[:, 0] = IGNORED
    split = Images(masks, *moments(images), images)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, stride=2), nn.Conv2d(4, 3, 3, padding=1)).eval()
    write_examples(tmp_path / "predictions.npz", network, Dataset(split, split, ("a", "b", "c")))
    found = read_examples(tmp_path)
    assert found is not None
    order = [int((images == torch.from_numpy(image)).flatten(1).all(1).nonzero()[0, 0]) for image in found.images]
    assert len(set(order)) == 6
    assert np.array_equal(found.masks, masks[order].numpy())
    with torch.no_grad():
        scores = nn.functional.interpolate(network(split.normalised(images[order])), (8, 8), mode="bilinear")
    assert np.array_equal(found.predicted, scores.argmax(1).numpy())
    assert len(found.objects) == sum(len(component_sizes(mask)) for mask in masks)
    assert found.classes == ("a", "b", "c")
    assert found.fields.tolist() == [[4, 4, 7, 7, 7, 7]]  # 1 + 2, and 2 more at stride 2
    (tmp_path / "predictions.npz").write_bytes(b"damaged")
    assert read_examples(tmp_path) is None
