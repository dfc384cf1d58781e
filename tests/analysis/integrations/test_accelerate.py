"""I_min tracked in a loop of the real accelerate, and sent to its trackers."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

import dynpool
from dynpool.analysis.integrations.accelerate import AcceleratedIMin
from tests.analysis.integrations.trained import tensorboard_scalars

SIZE = (3, 16, 12)


def test_accelerate(network, batch, tmp_path, read_log):
    accelerator = Accelerator(
        cpu=True, log_with="tensorboard", project_dir=str(tmp_path), gradient_accumulation_steps=2
    )
    accelerator.init_trackers("tb")
    optimizer = torch.optim.SGD(dynpool.parameter_groups(network, lr=0.1, alpha_lr=300))
    model, optimizer = accelerator.prepare(network, optimizer)
    i_min = AcceleratedIMin(accelerator, model, SIZE, tmp_path / "log")
    returned = []
    for _ in range(4):
        with accelerator.accumulate(model):
            images, labels = batch
            accelerator.backward(nn.functional.cross_entropy(model(images), labels))
            optimizer.step()
            optimizer.zero_grad()
            returned.append(i_min.step())
    accelerator.end_training()
    log = read_log(tmp_path / "log")
    assert [line["step"] for line in log] == [0, 1, 2], "two batches make a step"
    assert [line is None for line in returned] == [True, False, True, False]
    assert log[2]["alphas"]["2"] == pytest.approx(network[2].alpha.tolist())
    drawn = tensorboard_scalars(tmp_path / "tb", "i_min/width")
    assert drawn == [(line["step"], pytest.approx(line["i_min"][1])) for line in log]
