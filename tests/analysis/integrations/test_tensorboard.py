"""A line of the log in TensorBoard: every finite figure under its name, at the line's step."""

import math

from torch.utils.tensorboard import SummaryWriter

from dynpool.analysis.integrations.scalars import scalars
from dynpool.analysis.integrations.tensorboard import write_scalars
from tests.analysis.integrations.trained import tensorboard_scalars

RECORD = {
    "step": 7, "i_min": [43.0, 45.5], "i_max": [math.inf, 99.0], "gmacs": 0.25, "unproductive": 2,
    "alphas": {"pool": [2.0, 1.5]}, "sizes": {"pool": [16, 21]},
}  # fmt: skip


def test_what_is_drawn_is_what_the_line_says(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        write_scalars(writer, RECORD)
        write_scalars(writer, RECORD | {"step": 8, "gmacs": 0.5})
    assert tensorboard_scalars(tmp_path, "gmacs") == [(7, 0.25), (8, 0.5)]
    for name, value in scalars(RECORD).items():
        assert tensorboard_scalars(tmp_path, name)[0] == (7, value)
    assert "i_max/height" not in scalars(RECORD)
