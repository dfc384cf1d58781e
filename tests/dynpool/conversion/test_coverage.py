"""The sweep over libraries of models: what a row says, that it resumes, and that it bears what models do."""

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dynpool import cli
from dynpool.conversion.coverage import COLUMNS, CoverageRow, cover, coverage_names, read_rows, run_coverage, summarize


def test_names_match_with_and_without_the_library() -> None:
    assert "timm:resnet18" in coverage_names("resnet18")
    assert "torchvision:resnet18" in coverage_names("resnet18")
    assert coverage_names("torchvision:resnet18") == ["torchvision:resnet18"]
    assert coverage_names("no-such-model") == []


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_row_counts_what_became_of_the_resizers(device: str) -> None:
    with torch.device(device):
        model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1))
    row = cover("small", model, (3, 33, 33), device=device)
    assert (row.status, row.resizers, row.converted, row.left_alone) == ("runs", 2, 2, 0)


class Bad(nn.Module):
    """Converts, but does not run: it takes one image at a time, which conversion does not ask."""

    def __init__(self, *, slow: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.slow = slow

    def forward(self, x: Tensor) -> Tensor:
        if self.slow:
            time.sleep(2)
        if len(x) > 1:
            raise RuntimeError("one image at a time")
        return self.conv(x)


def test_rows_of_models_that_do_not_make_it() -> None:
    assert cover("none", nn.MaxPool2d(2), (3, 32, 32)).status == "no convolution"
    refused = cover("whole", nn.Sequential(nn.Conv2d(3, 4, 3)), (3, 32, 32))
    assert (refused.status, "nothing to learn" in refused.message) == ("refused", True)
    with torch.device("meta"):
        bad = Bad()
    failed = cover("bad", bad, (3, 32, 32))
    assert (failed.status, failed.message) == ("fails", "RuntimeError: one image at a time")
    assert cover("slow", Bad(slow=True), (3, 32, 32), limit=0.2).status == "too slow"


def test_goes_on_where_it_ended(tmp_path: Path) -> None:
    out = tmp_path / "coverage.csv"
    first = run_coverage(["timm:resnet10t"], out, input_size=(3, 64, 64))
    said: list[CoverageRow] = []
    both = run_coverage(["timm:resnet10t", "torchvision:no_such"], out, input_size=(3, 64, 64), say=said.append)
    assert both[0] == first[0]
    assert [r.model for r in said] == ["torchvision:no_such"]
    assert both == read_rows(out)
    assert [r.status for r in both] == ["runs", "error"]
    assert "cannot be built" in both[1].message


def test_rows_of_other_options_are_not_taken_for_these(tmp_path: Path) -> None:
    out = tmp_path / "coverage.csv"
    run_coverage(["timm:resnet10t"], out, input_size=(3, 64, 64))
    before = out.read_bytes()
    with pytest.raises(ValueError, match="made with input_size 3x64x64 on meta, not own on meta: name another file"):
        run_coverage(["timm:resnet10t"], out)
    with pytest.raises(ValueError, match="on meta, not 3x64x64 on cpu: name another file"):
        run_coverage(["timm:resnet10t"], out, input_size=(3, 64, 64), device="cpu")
    assert out.read_bytes() == before


def test_models_that_were_too_slow_are_tried_with_a_longer_limit(tmp_path: Path) -> None:
    out = tmp_path / "coverage.csv"
    assert run_coverage(["timm:resnet10t"], out, limit=0.01)[0].status == "too slow"
    assert run_coverage(["timm:resnet10t"], out, limit=0.001)[0].limit == 0.01
    (row,) = run_coverage(["timm:resnet10t"], out, limit=100)
    assert (row.status, row.limit) == ("runs", 100.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,size\nresnet18,3\n", "its columns are name, size"),
        ("model,status\n", "its columns are model, status"),
        ("\udcff", "which is not a CSV file"),
        (",".join(COLUMNS) + "\ntimm:resnet18,runs,8\n", r"whose row 1 \(timm:resnet18\) is damaged"),
    ],
)
def test_another_file_is_left_as_it_is(tmp_path: Path, text: str, said: str) -> None:
    out = tmp_path / "coverage.csv"
    out.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=said):
        run_coverage(["timm:resnet10t"], out)
    assert out.read_bytes() == text.encode(errors="surrogateescape")


def test_bad_arguments_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "coverage.csv"
    for words, said in (
        (["--input-size", "-3"], "--input-size: '-3' is not a number of pixels; allowed: "),
        (["--limit", "nan"], "--limit: 'nan' is not a time in seconds; allowed: a number above 0"),
        (
            ["--models", "resnet10t", "resnt18"],
            "--models 'resnt18' matches no model of timm or torchvision; did you mean",
        ),
    ):
        assert cli.main(["coverage", "--models", "timm:resnet10t", "--out", str(out), *words]) == 2
        assert capsys.readouterr().err.startswith(f"dynpool: error: {said}")
        assert not out.exists()


def test_summary_separates_models_with_pins() -> None:
    rows = [
        CoverageRow("a", "runs", converted=3),
        CoverageRow("b", "runs", converted=1, pinned=2, why="table x2"),
        CoverageRow("c", "fails", converted=1, message="RuntimeError: sizes"),
        CoverageRow("d", "refused", why="table x1"),
        CoverageRow("e", "no convolution"),
    ]
    said = summarize(rows)
    assert "4 models with a convolution" in said
    assert "2 without pins: 1 run, 1 of them with every resizer converted" in said
    assert "1 with pins: 1 run" in said
    assert "fails: 1 x RuntimeError: sizes" in said


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "coverage.csv"
    arguments = ["coverage", "--models", "torchvision:squeezenet1_1", "--input-size", "64", "--out", str(out)]
    assert cli.main(arguments) == 0
    assert "1 without pins: 1 run" in capsys.readouterr().out
    assert read_rows(out)[0].converted == 4
    assert cli.main(["coverage", "--models", "no-such-model", "--out", str(out)]) == 2
    assert "matches no model" in capsys.readouterr().err
