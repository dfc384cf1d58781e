"""Feature pyramids of torchvision's detectors are converted as they stand; why their heads need designed sizes."""

import pytest
import torch
from torchvision.models import detection
from torchvision.ops import MultiScaleRoIAlign

import dynpool


@pytest.mark.parametrize(
    ("name", "learned", "tied", "following"),
    [("fasterrcnn_resnet50_fpn", 6, 3, 3), ("retinanet_resnet50_fpn", 7, 3, 2)],
)
def test_a_feature_pyramid_has_nothing_pinned(name, learned, tied, following):
    with torch.device("meta"):
        detector = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=4)
        names = list(detector.backbone.state_dict())
        backbone = dynpool.convert(detector.backbone, (3, 128, 160), order="before")
    report = dynpool.conversion_report(backbone)
    found = [len(report.of(status)) for status in ("converted", "tied", "follows")]  # type: ignore[arg-type]
    assert found == [learned, tied, following]
    assert len(report.rows) == sum(found)
    assert backbone.out_channels == 256
    assert [key for key in backbone.state_dict() if not key.endswith("alpha")] == names


def test_maps_on_the_way_down_follow_those_that_they_are_added_to():
    torch.manual_seed(0)
    detector = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    backbone = dynpool.convert(detector.backbone, (3, 64, 64), order="before").eval().double()
    dynpool.set_sizes(backbone, {"body.maxpool": (13, 11), "body.layer2.0.conv2": (9, 7)})
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    maps, frozen = backbone(images), dynpool.freeze(backbone)(images)
    assert [tuple(maps[name].shape[-2:]) for name in ("0", "1")] == [(13, 11), (9, 7)]
    assert all(torch.allclose(frozen[name], value, atol=1e-10) for name, value in maps.items())


def test_regions_are_cut_at_the_nearest_power_of_two():
    """Why the heads need maps of designed sizes: a map of 3/8 of the image gives what one of 1/2 would."""
    pool = MultiScaleRoIAlign(["0"], output_size=1, sampling_ratio=1)
    boxes = [torch.tensor([[20.0, 20.0, 24.0, 24.0]])]  # centre at 22 pixels
    columns = torch.arange(24.0).expand(1, 1, 24, 24)  # of an image of 64
    value = float(pool({"0": columns}, boxes, [(64, 64)]))
    assert value == pytest.approx(22 / 2, abs=0.6)
    assert abs(value - 22 * 3 / 8) > 2
