"""Every column has a text and a value; bytes are printed with three digits."""

import pytest
import torch
from torch import nn

from dynpool.analysis import receptive_field
from dynpool.analysis.model_report.columns import COLUMNS, format_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1, "1 B"), (999, "999 B"), (1000, "1.00 kB"), (9994, "9.99 kB"), (9996, "10.0 kB"), (99_960, "100 kB"),
     (999_499, "999 kB"), (999_500, "1.00 MB"), (12_345_678_901, "12.3 GB"), (5 * 10**15, "5000 TB")],
)  # fmt: skip
def test_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text.replace("5000 TB", "5000 TB")


def test_values_and_texts_of_all_columns() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, (3, 5), padding=(1, 2)), nn.MaxPool2d(2)).to(torch.float64)
    conv, pool = receptive_field(model, (3, 16, 32), batch=2).table().parts
    values = {name: column.value(conv) for name, column in COLUMNS.items()}
    assert values == {
        "kind": "convolution", "calls": 1, "kernel": (3, 5), "stride": (1, 1), "r_min": (3, 5), "r_max": (3, 5),
        "r_max_local": (3, 5), "varies": False, "effective_stride": (1, 1), "effective_padding": (1, 2),
        "centre": (0, 0), "input": "3x16x32", "output": "8x16x32", "macs": 16 * 32 * 8 * 45, "parameters": 8 * 46,
        "weights": 8 * 8 * 46, "activations": 2 * 8 * 8 * 16 * 32, "peak": 2 * 8 * 11 * 16 * 32, "aligned": True,
    }  # fmt: skip
    texts = {name: column.show(pool) for name, column in COLUMNS.items()}
    assert texts == {
        "kind": "max_pool2d", "calls": "1", "kernel": "2", "stride": "2", "r_min": "4x6", "r_max": "4x6",
        "r_max_local": "4x6", "varies": "", "effective_stride": "2", "effective_padding": "1x2", "centre": "0.5",
        "input": "8x16x32", "output": "8x8x16", "macs": "0", "parameters": "0", "weights": "0",
        "activations": "16.4 kB", "peak": "123 kB", "aligned": "yes",
    }  # fmt: skip
