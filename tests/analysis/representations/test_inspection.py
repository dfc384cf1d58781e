"""`inspect` joins what is measured and predicted."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dynpool
from dynpool.analysis import inspect, receptive_field
from dynpool.analysis.representations import collect, fit_probe, layer_saturation
from tests.analysis.representations.small import SIZE, batches, network


def test_each_row_joins_probe_saturation_and_field():
    model, train, test = network(), batches(), batches(60, seed=1)
    report = inspect(model, train, test)
    fields = receptive_field(model, SIZE)
    kept: Any = collect(model, train)
    held_out: Any = collect(model, test)
    assert [row.name for row in report.rows] == ["0", "4", "7", "9", "12"]
    assert (report.train_images, report.test_images, report.probe_images) == (96, 60, 96)
    assert (report.accuracy, report.model, report.input_size) == (held_out.accuracy, "Sequential", SIZE)
    for row in report.rows:
        layer, other = kept.layers[row.name], held_out.layers[row.name]
        assert row.probe == fit_probe(layer.features, kept.labels, other.features, held_out.labels)
        assert row.probe is not None
        assert row.relative == row.probe.accuracy / held_out.accuracy
        assert row.saturation == layer_saturation(layer.moments.covariance)
        assert row.samples == 96 * max(1, int(np.prod(row.size)))
        assert row.unproductive == (None if row.name == "12" else row.name in fields.unproductive)
    assert report.border.r_min == "9" == next(n for n in fields.unproductive if n in kept.layers)
    assert report.tail.layers == ("0", "4", "7", "9")


def test_only_what_is_asked_for_is_measured():
    report = inspect(network(), batches(), batches(60, seed=1), probes=False)
    assert all(row.probe is None and row.saturation is not None for row in report.rows)
    report = inspect(network(), batches(), batches(60, seed=1), saturation=False, layers=["7"])
    assert [(row.name, row.saturation) for row in report.rows] == [("7", None)]
    assert report.rows[0].probe is not None


def test_heat_maps():
    train, test = batches(), batches(60, seed=1)
    report = inspect(network(), train, test, probes=False, saturation=False, heatmaps=["7"])
    (heat,) = report.heatmaps
    assert (heat.name, heat.size, heat.positions) == ("7", (3, 3), 9)
    kept: Any = collect(network(), train, maps=["7"])
    held_out: Any = collect(network(), test, maps=["7"])
    x, u = kept.layers["7"].maps[:, :, 1, 2], held_out.layers["7"].maps[:, :, 1, 2]
    assert heat.accuracy[1][2] == fit_probe(x, kept.labels, u, held_out.labels).accuracy


def test_learned_and_frozen_sizes_are_reported_at_their_sizes():
    learned = dynpool.convert(network(), SIZE)
    dynpool.set_sizes(learned, {"3": (10, 11), "6": (8, 9)})
    for model in (learned, dynpool.freeze(learned)):
        report = inspect(model, batches(), batches(60, seed=1), probes=False)
        assert [row.size for row in report.rows] == [(12, 12), (10, 11), (8, 9), (8, 9), ()]
        assert report.border.r_min == receptive_field(model, SIZE).border_layer
        assert [row.r_min for row in report.rows if row.r_min] == [
            row.r_min for row in receptive_field(model, SIZE).layers if row.kind == "convolution"
        ]


def test_the_same_data_give_the_same_report_and_the_model_stays_in_its_mode():
    model = network().train()
    one, two = (inspect(model, batches(), batches(60, seed=1)) for _ in range(2))
    assert one == two
    assert one.to_dict() == two.to_dict()
    assert model.training


def test_what_does_not_fit_is_said():
    said: list[str] = []
    report = inspect(network(), batches(400, 50), batches(60, seed=1), memory=300_000, tell=said.append)
    assert report.probe_images < 400
    (notice,) = report.notices
    assert notice.startswith(f"training images: {report.probe_images} of 400 images, drawn evenly")
    assert notice in said
    assert notice in str(report)


def test_progress():
    seen, train, test = [], batches(), batches(60, seed=1)
    inspect(network(), train, test, layers=["7"], heatmaps=["7"], progress=lambda *at: seen.append(at))
    assert seen == [
        *(("training images", i, 5) for i in range(6)),
        *(("held-out images", i, 3) for i in range(4)),
        *(("probes", i, 1) for i in range(2)),
        *(("positions", i, 9) for i in range(1, 10)),
    ]


class Untraceable(nn.Module):
    """Leaves PyTorch on its way, which a trace cannot follow."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        return self.net(torch.from_numpy(x.numpy().copy()))


def test_a_model_that_cannot_be_traced_has_probes_but_no_fields():
    report = inspect(Untraceable(), batches(), batches(60, seed=1), layers=["net.7"])
    assert report.rows[0].r_min is None
    assert report.rows[0].probe is not None
    assert report.notices[0].startswith("receptive fields are not known")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": ["77"]}, "layers: the Sequential has no layer '77'"),
        ({"heatmaps": ["77"]}, "heatmaps: the Sequential has no layer '77'"),
        ({"train_batches": batches(classes=1)}, "train_batches: all images are of class 0"),
        ({"train_batches": batches(2, classes=2)}, "train_batches: 2 images for 3 classes"),
        ({"test_batches": []}, "test_batches is empty"),
        ({"test_batches": [(torch.zeros(2, 1, 16, 16), torch.zeros(2).long())]}, "test_batches: images are 1x16x16"),
        ({"train_batches": batches(classes=2)}, "test_batches: images of class 2"),
        ({"input_size": (1, 16, 16)}, "input_size=1x16x16"),
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"tolerance": -1}, "tolerance=-1"),
        ({"low": 2}, "low=2"),
        ({"iterations": 0}, "iterations=0"),
    ],
)
def test_bad_values(changes, said):
    arguments = {"model": network(), "train_batches": batches(), "test_batches": batches(60, seed=1)}
    with pytest.raises(ValueError, match=said):
        inspect(**(arguments | changes))


@pytest.mark.parametrize("changes", [{"progress": 3}, {"tell": "x"}, {"probes": 1}, {"model": 3}, {"heatmaps": "7"}])
def test_wrong_types(changes):
    arguments = {"model": network(), "train_batches": batches(), "test_batches": batches(60, seed=1)}
    with pytest.raises(TypeError, match=next(iter(changes))):
        inspect(**(arguments | changes))


def test_a_model_in_training_mode_is_inspected_as_it_predicts():
    """In eval mode: without dropout, with the running statistics of its batch norms; and stays in training mode."""
    model = network()
    model.insert(12, nn.Dropout(0.5))
    expected = inspect(model.eval(), batches(), batches(60, seed=1))
    assert inspect(model.train(), batches(), batches(60, seed=1)) == expected
    assert all(module.training for module in model.modules())
