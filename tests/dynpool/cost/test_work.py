"""The work of operations: MACs, or elements read and written, by hand."""

from torch import nn

from dynpool.cost.work import amounts_of_work
from dynpool.graph import trace


def test_macs_where_there_are_any_else_elements():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    work = amounts_of_work(trace(model, (3, 10, 12)))
    amounts = {key: [amount for amount, _ in each] for key, each in work.items()}
    assert amounts["0", "aten.convolution"] == [10 * 12 * 8 * 27]
    assert amounts["1", "aten.relu"] == [960, 960]
    assert sorted(amounts["2", "aten.max_pool2d_with_indices"]) == [240, 240, 960]
    sides = [sorted(size for _, size in axes) for _, axes in work["1", "aten.relu"]]
    assert sides == [[10, 12], [10, 12]]


def test_weights_are_no_work():
    (each,) = amounts_of_work(trace(nn.LayerNorm(12), (3, 10, 12))).values()
    assert sorted(amount for amount, _ in each) == [30, 30, 360, 360]  # means and deviations, output and input
