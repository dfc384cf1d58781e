"""Models of Keras 3 on its torch backend have the fields of the same model in PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import json, sys
import keras
import torch
from torch import nn
from dynpool.analysis import effective_receptive_field, receptive_field
from dynpool.analysis.integrations.keras import from_keras
from dynpool.analysis.integrations.named_models import named_model

layers = keras.layers

def build(data_format):
    first = data_format == "channels_first"
    kwargs = {"data_format": data_format}
    bare = kwargs | {"use_bias": False}
    x = images = keras.Input((3, 40, 48) if first else (40, 48, 3))
    x = layers.Conv2D(4, 5, strides=2, padding="same", name="stem", **bare)(x)
    x = layers.BatchNormalization(axis=1 if first else -1, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="deep", **bare)(x)
    y = layers.Conv2D(4, 1, name="wide", **bare)(y)
    x = layers.Add(name="add")([x, y])
    x = layers.MaxPooling2D(2, name="pool", **kwargs)(x)
    x = layers.Conv2D(8, (3, 1), name="last", **bare)(x)
    x = layers.GlobalAveragePooling2D(name="mean", **kwargs)(x)
    return keras.Model(images, layers.Dense(10, name="head")(x))

def torch_twin():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.deep, self.wide = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        def forward(self, x):
            return x + self.wide(self.deep(x))
    same = nn.ZeroPad2d((1, 2, 1, 2))  # SAME padding of a kernel of 5 at stride 2
    stem = nn.Conv2d(3, 4, 5, stride=2, bias=False)
    return nn.Sequential(same, stem, nn.BatchNorm2d(4), nn.ReLU(), Residual(), nn.MaxPool2d(2),
                         nn.Conv2d(4, 8, (3, 1), bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

def words(report):
    rows = [[r.kind, r.kernel, r.stride, r.r_min, r.r_max, r.centre, r.macs, r.parameters] for r in report.layers]
    return [rows, report.i_min, report.i_max, report.aligned, report.edges, report.total_macs]

results = {"torch": words(receptive_field(torch_twin(), (3, 40, 48)))}
for data_format in ("channels_last", "channels_first"):
    model = build(data_format)
    module = from_keras(model)
    report = receptive_field(module, (3, 40, 48))
    results[data_format] = words(report)
    results[data_format + " names"] = [row.name for row in report.layers]
    results[data_format + " unknown"] = dict(report.not_understood)
    field = effective_receptive_field(module, (3, 40, 48), layer="wide", samples=2)
    inside = [line[int(a) : int(b) + 1].sum() for line, (a, b) in zip(field.projection, field.region)]
    results[data_format + " inside"] = [s / line.sum() for s, line in zip(inside, field.projection)]
    images = torch.randn(2, 3, 40, 48)
    own = model(images.movedim(1, -1) if data_format == "channels_last" else images)
    results[data_format + " error"] = float((module(images) - own).detach().abs().max())

try:
    from_keras(nn.ReLU())
except ValueError as error:
    results["refused"] = str(error)
backend, keras.config.backend = keras.config.backend, lambda: "jax"
try:
    from_keras(None)
except ValueError as error:
    results["backend"] = str(error)
keras.config.backend = backend
sys.modules["own"] = type(sys)("own")
sys.modules["own"].make = lambda: build("channels_last")
results["named"] = words(receptive_field(named_model("own:make", (3, 40, 48))[1], (3, 40, 48)))
print(json.dumps(results))
"""


def run(program, **variables):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), **variables}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_same_fields_as_in_torch(tmp_path):
    results = run(PROGRAM, KERAS_BACKEND="torch", KERAS_HOME=str(tmp_path))
    for data_format in ("channels_last", "channels_first"):
        assert results[data_format + " unknown"] == {}
        assert results[data_format + " names"] == ["stem", "deep", "wide", "pool", "last"]
        assert results[data_format] == results["torch"]
        assert results[data_format + " inside"] == [1.0, 1.0]
        assert results[data_format + " error"] < 1e-5
    assert results["named"] == results["torch"]
    assert results["refused"] == "model must be a keras.Model, got ReLU"
    assert results["backend"].startswith("Keras runs on jax; set KERAS_BACKEND=torch")
