"""The plot of the network: a box for each layer, apart from the others, with its words inside."""

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from dynpool.analysis.common.colors import FILLS


def boxes(figure):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]


def test_network_has_a_coloured_box_per_layer(vgg):
    figure = vgg.plot("network")
    colors = [to_hex(box.get_facecolor()).upper() for box in boxes(figure)]
    marks = ["unproductive" if n in vgg.unproductive else "underutilized" if n in vgg.underutilized else ""
             for n in (row.name for row in vgg.layers)]  # fmt: skip
    assert colors == [FILLS[mark].upper() for mark in marks]
    texts = [text.get_text() for text in figure.axes[0].texts]
    for row in vgg.layers:
        assert row.name in texts
        assert f"r {row.r_min[0]:g}" in texts


@pytest.mark.parametrize("report", ["vgg", "learned", "one_axis", "bottlenecks"])
def test_network_keeps_boxes_apart_and_words_inside(report, request):
    report = request.getfixturevalue(report)
    figure = report.plot("network")
    figure.set_dpi(200)  # as it is written to files
    figure.canvas.draw()
    places = [box.get_window_extent() for box in boxes(figure)]
    assert len(places) == len(report.layers)
    for index, place in enumerate(places):
        assert not any(place.overlaps(other) for other in places[index + 1 :])
        assert place.x0 > 0
        assert place.x1 < figure.bbox.x1
        assert place.y0 > 0
    words = [
        text.get_window_extent() for text in figure.axes[0].texts if text.get_text() in {r.name for r in report.layers}
    ]
    room = 4  # pixels on either side
    for word in words:
        assert any(
            p.x0 + room <= word.x0 and word.x1 <= p.x1 - room and p.y0 <= word.y0 and word.y1 <= p.y1 for p in places
        )
