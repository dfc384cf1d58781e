"""The spectrum as text, plain data and files."""

import csv
import json

from dynpool.analysis.representations import HessianSpectrum


def spectrum(*values, which="LA", **options):
    known = {"model": "Net", "parameters": 127, "wanted": 2, "loss": 1.25, "images": 8, "batches": 2, "products": 40,
             "memory": 99, "notices": ()}  # fmt: skip
    return HessianSpectrum(**{**known, "eigenvalues": values, "which": which, **options})


def test_text():
    text = str(spectrum(3.0, -0.5, which="LM", notices=("one is missing",)))
    assert text.splitlines() == [
        "         3       -0.5",
        "the 2 absolutely largest eigenvalues of the Hessian of the loss with respect to 127 parameters; 1 below zero",
        "loss 1.25, 8 images, 40 products with a vector",
        "note: one is missing",
    ]
    assert len(str(spectrum(*range(25, 0, -1))).splitlines()) == 5


def test_files(tmp_path):
    paths = spectrum(3.0, -0.5).write(tmp_path)
    data = json.loads(paths[0].read_text())
    assert (data["eigenvalues"], data["negative"], data["products"]) == ([3.0, -0.5], 1, 40)
    with paths[1].open(newline="") as file:
        assert list(csv.reader(file)) == [["rank", "eigenvalue"], ["1", "3.0"], ["2", "-0.5"]]
    assert [path.name for path in paths] == ["hessian.json", "hessian.csv", "hessian.png"]


def test_plot_beside_others():
    figure = spectrum(3.0, 1.0).plot("trained", before=spectrum(0.5))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["trained", "before"]
