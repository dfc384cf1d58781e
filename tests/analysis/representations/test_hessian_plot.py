"""Every eigenvalue is a point on one logarithmic axis; negative ones are hollow triangles, zeros are said."""

import numpy as np

from dynpool.analysis.representations.hessian_plot import plot_spectra, plot_spectra_side_by_side


def test_points_and_signs():
    figure = plot_spectra({"trained": [4.0, -2.0, 1.0, 0.0], "before": [-0.1]})
    figure.canvas.draw()
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    drawn = [
        (line.get_marker(), np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in axes.lines
    ]
    assert drawn == [("o", [1, 3], [4.0, 1.0]), ("v", [2], [2.0]), ("v", [1], [0.1])]
    assert axes.lines[0].get_color() == axes.lines[1].get_color() != axes.lines[2].get_color()
    assert axes.lines[1].get_markerfacecolor() == "white"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["trained", "before", "below zero", "1 zero, not drawn"]


def test_one_spectrum_is_named_in_the_title():
    figure = plot_spectra({"_Net": [4.0, 2.0]})
    assert not figure.legends
    assert figure.axes[0].get_title(loc="left") == "Eigenvalues of the Hessian of the loss: _Net"


def test_a_panel_per_design_on_one_axis():
    columns = {
        "human": {"before training": [[2.0, 1.0], [3.0, -1.0]], "trained": [[9.0]]},
        "refine": {"trained": [[5.0]]},
    }
    figure = plot_spectra_side_by_side(columns)
    figure.canvas.draw()
    human, refine = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["human", "refine"]
    assert human.get_yscale() == "log"
    assert human.get_ylim() == refine.get_ylim()
    drawn = [(line.get_marker(), np.asarray(line.get_ydata()).tolist()) for line in human.lines]
    assert drawn == [("o", [2.0, 1.0]), ("o", [3.0]), ("v", [1.0]), ("o", [9.0])]
    assert human.lines[-1].get_color() == refine.lines[0].get_color() != human.lines[0].get_color()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["before training", "trained", "below zero"]
