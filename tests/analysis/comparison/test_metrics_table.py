"""The rows of metrics.csv: damage is an error that names the line, and a row that is still being written is skipped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dynpool.analysis.comparison.read_runs import read_run


@pytest.mark.parametrize("cut", [1, 5, 40, 100])
def test_half_written_last_line_is_skipped_and_noted(tmp_path: Path, write_run: Callable[..., Path], cut: int) -> None:
    metrics = write_run(tmp_path / "a", epochs=4) / "metrics.csv"
    metrics.write_text(metrics.read_text()[:-cut])
    run = read_run(tmp_path / "a")
    assert run.last.epoch == 3
    assert not run.finished
    assert run.notes == ("metrics.csv line 6 has no newline (perhaps still being written): skipped",)


def test_truncated_last_line_with_a_newline_is_skipped_and_noted(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    metrics = write_run(tmp_path / "a", epochs=4) / "metrics.csv"
    metrics.write_text(metrics.read_text()[:-30] + "\n")
    run = read_run(tmp_path / "a")
    assert run.last.epoch == 3
    assert run.notes == ("metrics.csv line 6 is truncated: skipped",)


def test_the_last_row_of_an_epoch_counts(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    metrics = write_run(tmp_path / "a", epochs=2, checksums=False) / "metrics.csv"
    again = metrics.read_text().splitlines(keepends=True)[-1].replace("0.89", "0.5")
    metrics.write_text(metrics.read_text() + again)
    run = read_run(tmp_path / "a")
    assert run.last.test_accuracy == pytest.approx(0.5)
    assert run.notes == ("metrics.csv has several rows for epoch 2: the last counts",)
    assert not run.verified


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("", "", "metrics.csv is empty"),
        ("epoch,", "time,", "missing columns epoch"),
        ("test_accuracy", "score", "missing columns test_accuracy"),
        ("\n1,", "\none,", "line 3: epoch is 'one', must be a number"),
        ("\n1,", "\n1.5,", "line 3: epoch is '1.5', must be a whole number"),
        ("\n1,", "\n", "line 3 is damaged: 24 cells, expected 25"),
        ('"{""input""', '"{""input', "line 2 is damaged|sizes is"),
        ("[32, 32]", "[32]", "line 2: sizes is .*JSON object"),
        ("[32, 32]", "[32, 0]", "line 2: sizes is .*positive"),
        ("[32, 32]", "[32, 1.5]", "line 2: sizes is .*positive"),
        ("inf,inf,", "many,inf,", "line 2: i_max_h is 'many', must be a number"),
        (",1,0,0.1,", ",-1,0,0.1,", "line 2: unproductive is '-1', must be a whole number"),
        ("0.89,", "89,", "line 4: test_accuracy is '89', must be a fraction from 0 to 1"),
        ("0.89,", "nan,", "line 4: test_accuracy is 'nan', must be a fraction from 0 to 1"),
    ],
)
def test_damaged_metrics(tmp_path: Path, write_run: Callable[..., Path], old: str, new: str, message: str) -> None:
    folder = write_run(tmp_path / "damaged", epochs=2, checksums=False)
    text = (folder / "metrics.csv").read_text()
    if old == "0.89,":  # the test accuracy, not the training accuracy before it
        head, found, tail = text.rpartition("0.89,")
        assert found
        (folder / "metrics.csv").write_text(head + new + tail)
    else:
        assert old in text
        (folder / "metrics.csv").write_text(text.replace(old, new, 1) if old else "")
    with pytest.raises(ValueError, match=message) as caught:
        read_run(folder)
    assert str(caught.value).startswith(str(folder))


def test_a_field_that_lacks_an_axis_is_unknown_or_if_required_an_error(
    tmp_path: Path, write_run: Callable[..., Path]
) -> None:
    folder = write_run(tmp_path / "a", epochs=2, checksums=False)
    text = (folder / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text(text.replace("i_max_local_w", "other"))
    last = read_run(folder).last
    assert last.i_max is not None
    assert last.i_max_local is None
    for lacking in ("i_min_h", "i_min_w"):
        (folder / "metrics.csv").write_text(text.replace(lacking, "i_min_d"))
        with pytest.raises(ValueError, match=f"missing columns {lacking}$"):
            read_run(folder)


def test_binary_metrics(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_run(tmp_path / "a")
    (folder / "metrics.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ValueError, match=r"a: metrics.csv is damaged: it is not UTF-8 text"):
        read_run(folder)


def test_every_changed_character_of_a_row_is_detected(tmp_path: Path, write_run: Callable[..., Path]) -> None:
    folder = write_run(tmp_path / "a", epochs=2)
    text = (folder / "metrics.csv").read_bytes()
    start, end = text.index(b"\n0,") + 1, text.index(b"\n2,")
    for at in range(start, end, 3):
        flipped = bytearray(text)
        flipped[at] ^= 1 << at % 7
        (folder / "metrics.csv").write_bytes(flipped)
        with pytest.raises(ValueError, match=r"metrics\.csv (line|is damaged)"):
            read_run(folder)
