"""Predicted against observed tails: a point per network, and Spearman's correlation as SciPy has it."""

from types import SimpleNamespace
from typing import Any

import pytest
import scipy.stats

from dynpool.analysis.representations import tail_agreement
from dynpool.analysis.representations.tail import Tail

LAYERS = tuple("abcdefghij")


def report(border, solved, local=True):
    """A network of ten layers whose border layer and first solved layer are the given ones."""
    return SimpleNamespace(
        tail=Tail(LAYERS, solved, None, False, 0.01, 0.5),
        border=SimpleNamespace(r_min=border),
        rows=[SimpleNamespace(is_local=local)],
    )


def test_shares_of_layers():
    found = tail_agreement({"none": report(None, "j"), "some": report("h", "f"), "all": report("a", "a")})
    assert [(p.name, p.predicted, p.observed) for p in found.points] == [
        ("none", 0.0, 0.0), ("some", pytest.approx(0.3), pytest.approx(0.4)), ("all", 1.0, pytest.approx(0.9)),
    ]  # fmt: skip
    assert {p.layers for p in found.points} == {10}


def test_the_correlation_is_spearmans_with_ties():
    pairs = [(None, "j"), ("h", "g"), ("h", "d"), ("c", "f"), ("e", "e"), ("b", "b")]
    found = tail_agreement({str(number): report(*pair) for number, pair in enumerate(pairs)})
    x, y = zip(*((p.predicted, p.observed) for p in found.points), strict=True)
    assert found.correlation == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.correlation is not None
    assert -1 <= found.low < found.correlation < found.high <= 1
    assert tail_agreement({str(number): report(*pair) for number, pair in enumerate(pairs)}) == found
    assert f"6 networks: rank correlation of predicted and observed tails {found.correlation:+.2f}" in str(found)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [([("b", "c"), ("d", "d")], "2 networks: too few"), ([("b", "c")] * 5, "5 networks: tails that do not differ")],
)
def test_where_there_is_no_correlation_it_says_why(pairs, said):
    found = tail_agreement({str(number): report(*pair) for number, pair in enumerate(pairs)})
    assert found.correlation is found.low is found.high is None
    assert str(found).startswith(said)


def test_it_says_what_the_points_show_and_what_they_do_not():
    reports = {"a0": report(None, "j"), "a1": report(None, "i"), "b0": report("h", "f"), "b1": report("h", "g")}
    found = tail_agreement(reports, {name: name[0] for name in reports})
    assert found.designs == 2
    assert "predict no tail in 2 networks, of which 1 has none; on average 5 % of their layers" in found.detail
    assert "predict a tail in 2 networks, of which 0 have none; on average 35 %" in found.detail
    assert "The networks are of 2 designs" in found.detail
    assert found.to_dict()["detail"] == found.detail
    alone = tail_agreement({"b0": report("h", "f")})
    assert "designs" not in alone.detail
    assert tail_agreement({}).detail == ""


def test_five_designs_or_more_are_drawn_with_all_their_seeds():
    pairs = [(None, "j"), ("h", "g"), ("h", "d"), ("c", "f"), ("e", "e"), ("b", "b")]
    reports = {f"{k}{seed}": report(*pair) for k, pair in enumerate(pairs) for seed in range(3)}
    together = tail_agreement(reports, {name: name[0] for name in reports})
    apart = tail_agreement(reports)
    assert together.correlation == apart.correlation
    assert together.low is not None
    assert apart.low is not None
    assert together.low < apart.low  # seeds that repeat a design make no narrower interval
    assert "bootstrap over designs with their seeds" in together.detail


def test_networks_without_probes_or_fields_have_no_point():
    found = tail_agreement({"no probes": report("b", None), "no fields": report(None, "b", local=False)})
    assert (found.points, found.left_out) == ((), ("no probes", "no fields"))
    mostly = report("b", "c")
    mostly.rows = [SimpleNamespace(is_local=local) for local in (True, False, False)]
    found = tail_agreement({"mostly global": mostly, "a": report("b", "c")})
    assert [point.name for point in found.points] == ["a"]
    assert (
        "Left out, as most of their layers lie behind a global operation or have no probe: mostly global."
        in found.detail
    )


def test_each_design_has_a_colour_and_no_point_hides_another():
    reports = {"a0": report("g", "g"), "a1": report("f", "g"), "b0": report("g", "g"), "c0": report(None, "j")}
    figure: Any = tail_agreement(reports, {name: name[0] for name in reports}).plot()
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines if line.get_label() in "abc"}
    drawn = {name: list(zip(line.get_xdata(), line.get_ydata(), strict=True)) for name, line in lines.items()}
    assert drawn == {"a": [(38, 30), (48, 30)], "b": [(40, 30)], "c": [(2, 0)]}
    assert len({line.get_color() for line in lines.values()}) == 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b", "c"]
    many = {f"{name}{k}": report(name, name) for name in LAYERS for k in range(2)}
    assert tail_agreement(many, {name: name[0] for name in many}).plot().axes[0].get_legend() is None
