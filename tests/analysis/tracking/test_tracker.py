"""The lines of the I_min log: contents, reproducibility, and damaged files."""

import json
import math
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import dynpool
from dynpool.analysis import receptive_field
from dynpool.analysis.tracking.tracker import IMinTracker

SIZE = (3, 64, 48)
KEYS = ["step", "sizes", "alphas", "strides", "gmacs", "i_min", "i_max", "i_max_local", "unproductive", "behind_global"]


def converted() -> nn.Module:
    return dynpool.convert(torchvision.models.resnet18(), SIZE)


def by_hand() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        dynpool.DynOPool2d(1.7),
        nn.Conv2d(4, 4, 3, stride=2, padding=1),
        dynpool.DynOPool2d((1.5, 2.5)),
        nn.Conv2d(4, 4, 3, padding=1),
    )


def move(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for resolution in dynpool.resolutions(model).values():
            resolution.alpha.mul_(0.8 + 0.5 * torch.rand(2, generator=generator))
    dynpool.constrain(model)


def lines(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.mark.parametrize("make", [converted, by_hand])
def test_every_line_agrees_with_a_new_analysis(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    model = make()
    tracker = IMinTracker(model, SIZE, tmp_path / "i_min.jsonl")
    for step in range(3):
        record = tracker.log(step)
        report = receptive_field(model, SIZE)
        assert list(record) == KEYS
        assert record["step"] == step
        assert tuple(record["i_min"]) == report.i_min
        assert tuple(record["i_max"]) == report.i_max
        assert tuple(record["i_max_local"]) == report.i_max_local
        assert record["unproductive"] == len(report.unproductive)
        assert record["behind_global"] == len(report.behind_global) == 0
        assert record["strides"] == record["alphas"]  # as DynOPool's are
        assert record["sizes"] == {name: list(size) for name, size in dynpool.sizes(model, SIZE).items()}
        assert next(iter(record["sizes"])) == "input"
        assert record["gmacs"] == dynpool.count_macs(model, SIZE).gmacs
        assert record["alphas"] == {name: r.alpha.tolist() for name, r in dynpool.resolutions(model).items()}
        move(model, step)
    logged = lines(tmp_path / "i_min.jsonl")
    assert [line["step"] for line in logged] == [0, 1, 2]
    assert logged[2] == record
    assert logged[0]["i_min"] != logged[2]["i_min"]


def test_i_min_recomputed_from_a_saved_state_equals_the_line_logged_then(tmp_path: Path) -> None:
    model = converted()
    tracker = IMinTracker(model, SIZE, tmp_path / "i_min.jsonl")
    for step in range(3):
        move(model, step)
        torch.save(model.state_dict(), tmp_path / f"{step}.pt")
        tracker.log(step)
    for line in lines(tmp_path / "i_min.jsonl"):
        offline = converted()
        offline.load_state_dict(torch.load(tmp_path / f"{line['step']}.pt", weights_only=True))
        report = receptive_field(offline, SIZE)
        assert list(report.i_min) == line["i_min"]
        assert list(report.i_max) == line["i_max"]
        again = IMinTracker(offline, SIZE, tmp_path / "again.jsonl").log(line["step"])
        assert again == line


def test_a_plain_model_has_no_alphas(tmp_path: Path) -> None:
    model = torchvision.models.resnet18()
    record = IMinTracker(model, (3, 224, 224), tmp_path / "log").log(7)
    assert record["alphas"] == {}
    assert record["i_min"] == [139, 139]
    assert record["sizes"] == {name: list(size) for name, size in dynpool.sizes(model, (3, 224, 224)).items()}
    assert record["gmacs"] == dynpool.count_macs(model, (3, 224, 224)).gmacs


def test_infinity_is_a_string_in_the_file(tmp_path: Path) -> None:
    model = torchvision.models.mobilenet_v3_small()  # squeeze-and-excitation
    record = IMinTracker(model, SIZE, tmp_path / "log").log(0)
    assert record["i_max"] == [math.inf, math.inf]
    (line,) = lines(tmp_path / "log")
    assert line["i_max"] == ["inf", "inf"]
    assert [float(v) for v in line["i_max"]] == record["i_max"]


def test_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    model = converted().train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    IMinTracker(model, SIZE, tmp_path / "log").log(0)
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


# --- files ------------------------------------------------------------------------------------------------------------


def log_three(path: Path) -> IMinTracker:
    tracker = IMinTracker(by_hand(), SIZE, path)
    for step in range(3):
        tracker.log(step)
    return tracker


@pytest.mark.parametrize("left", [1, 9, 60, -2])
def test_a_line_cut_off_by_a_crash_is_dropped(left: int, tmp_path: Path) -> None:
    path = tmp_path / "log"
    log_three(path)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:2]) + whole[2][:left])
    IMinTracker(by_hand(), SIZE, path).log(5)
    assert [line["step"] for line in lines(path)] == [0, 1, 5]
    assert path.read_bytes().startswith(b"".join(whole[:2]))


def test_a_crash_in_the_first_line_leaves_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"st')
    IMinTracker(by_hand(), SIZE, path).log(0)
    assert [line["step"] for line in lines(path)] == [0]


def test_a_line_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log_three(path)
    path.write_bytes(path.read_bytes()[:-1])
    IMinTracker(by_hand(), SIZE, path).log(3)
    assert [line["step"] for line in lines(path)] == [0, 1, 2, 3]


def test_a_file_deleted_meanwhile_is_created_again(tmp_path: Path) -> None:
    tracker = log_three(tmp_path / "log")
    (tmp_path / "log").unlink()
    tracker.log(3)
    assert [line["step"] for line in lines(tmp_path / "log")] == [3]


def test_a_file_that_is_not_a_log_is_an_error_and_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK\x03\x04 no newline anywhere")
    with pytest.raises(ValueError, match=r"weights\.pt is not an I_min log"):
        IMinTracker(by_hand(), SIZE, path)
    assert path.read_bytes() == b"PK\x03\x04 no newline anywhere"


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log_three(path)
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:9] + second[10:].replace(b":", b";") + third)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"line 2 of the I_min log .*log is damaged: remove it, or choose another"):
        IMinTracker(by_hand(), SIZE, path)
    assert path.read_bytes() == before


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=f"cannot write the I_min log.*{tmp_path}"):
        IMinTracker(by_hand(), SIZE, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cannot write the I_min log.*missing.*log"):
        IMinTracker(by_hand(), SIZE, tmp_path / "missing" / "log")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="cannot write the I_min log"):
        IMinTracker(by_hand(), SIZE, tmp_path / "file" / "log")


def test_a_line_that_does_not_fit_leaves_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tracker = log_three(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))  # as if the disk had 20 bytes left
    try:
        with pytest.raises(OSError, match=r"cannot write the I_min log.*log"):
            tracker.log(3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    tracker.log(3)
    assert [line["step"] for line in lines(path)] == [0, 1, 2, 3]


# --- bad input --------------------------------------------------------------------------------------------------------


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got dict"):
        IMinTracker({}, SIZE, tmp_path / "log")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input_size"):
        IMinTracker(by_hand(), (3, 64), tmp_path / "log")
    tracker = IMinTracker(by_hand(), SIZE, tmp_path / "log")
    with pytest.raises(TypeError, match=r"step must be an integer, got 1\.5"):
        tracker.log(1.5)  # type: ignore[arg-type]
    assert (tmp_path / "log").read_bytes() == b""


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0])
def test_an_alpha_that_is_not_a_stride_is_named(bad: float, tmp_path: Path) -> None:
    model = by_hand()
    tracker = IMinTracker(model, SIZE, tmp_path / "log")
    with torch.no_grad():
        model[3].alpha[1] = bad  # type: ignore[index]
    with pytest.raises(ValueError, match=r"alpha of 3 is .*call dynpool\.constrain"):
        tracker.log(0)
    assert (tmp_path / "log").read_bytes() == b""
    dynpool.constrain(model)
    assert tracker.log(1)["alphas"]["3"][0] == 1.5
