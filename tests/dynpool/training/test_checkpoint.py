"""A checkpoint comes back as it was saved, or is refused: never half of one, never a foreign one."""

import errno
import math
import os
import zipfile
from dataclasses import replace

import pytest
import torch
from torch import nn

from dynpool import DynOPool2d
from dynpool.training import checkpoint as checkpoints
from dynpool.training.errors import (
    DamagedCheckpointError,
    DiskFullError,
    ForeignCheckpointError,
    TrainingError,
    UnwritableError,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def state(model):
    return checkpoints.Checkpoint(
        epoch=3,
        config={"lr": 0.1, "data": {"name": "digits"}},
        fingerprint="abc",
        model=model.state_dict(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1).state_dict(),
        scheduler={"last_epoch": 7},
        scaler={},
        rng=checkpoints.rng_state(),
    )


@pytest.fixture
def path(tmp_path, state):
    checkpoints.save(state, tmp_path / "last.pt")
    return tmp_path / "last.pt"


def test_round_trip(path, state):
    loaded = checkpoints.load(path)
    assert (loaded.epoch, loaded.fingerprint, loaded.config) == (3, "abc", state.config)
    for name, value in state.model.items():
        assert torch.equal(loaded.model[name], value)
    assert loaded.optimizer == state.optimizer


def test_rng_state_is_put_back(state, path):
    before = replace(state, rng=checkpoints.rng_state())
    drawn = torch.rand(5)
    checkpoints.restore_rng(before, path)
    assert torch.equal(torch.rand(5), drawn)


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        checkpoints.load(tmp_path / "none.pt")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_half_written(path, share):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DamagedCheckpointError, match=r"last\.pt: damaged"):
        checkpoints.load(path)


def test_every_flipped_weight_byte_is_found(path, model):
    whole = path.read_bytes()
    start = whole.index(model[0].weight.detach().numpy().tobytes())
    for at in range(start, start + model[0].weight.nbytes, 7):
        broken = bytearray(whole)
        broken[at] ^= 0x10
        path.write_bytes(broken)
        with pytest.raises(DamagedCheckpointError, match="checksum"):
            checkpoints.load(path)


def test_a_damaged_directory_of_records_is_one_error(path):
    whole = path.read_bytes()
    name, flags = whole.rindex(b"/data.pkl"), whole.index(b"PK\x01\x02") + 8
    for at, bit in ((name + 1, 0x80), (flags, 1)):  # a name that is no text; a record that claims to be encrypted
        broken = bytearray(whole)
        broken[at] ^= bit
        path.write_bytes(broken)
        with pytest.raises(DamagedCheckpointError, match=r"last\.pt: damaged"):
            checkpoints.load(path)


def test_foreign_files(tmp_path, model):
    file = tmp_path / "f.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ForeignCheckpointError, match="not written by PyTorch"):
        checkpoints.load(file)
    torch.save(model.state_dict(), file)
    with pytest.raises(ForeignCheckpointError, match="not a checkpoint of dynpool"):
        checkpoints.load(file)
    torch.save({"format": checkpoints.FORMAT, "version": 99}, file)
    with pytest.raises(ForeignCheckpointError, match="version 99"):
        checkpoints.load(file)
    torch.save({"format": checkpoints.FORMAT, "version": 1}, file)
    with pytest.raises(ForeignCheckpointError, match="no entry"):
        checkpoints.load(file)


def test_code_in_a_checkpoint_is_not_run(tmp_path, model):
    file = tmp_path / "f.pt"
    torch.save(model, file)  # a pickled module
    with pytest.raises(ForeignCheckpointError, match="more than tensors"):
        checkpoints.load(file)


def test_another_model_is_refused_and_left_unchanged(path):
    loaded = checkpoints.load(path)
    other = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Linear(3, 2))
    before = {k: v.clone() for k, v in other.state_dict().items()}
    with pytest.raises(
        ForeignCheckpointError,
        match=r"missing: 2\.bias.*unknown: 1\.bias.*0\.bias is \(4,\) of float32, not \(5,\) of",
    ):
        checkpoints.restore_model(other, loaded, path)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())


@pytest.mark.parametrize("alpha", [(math.inf, 2.0), (2.0, math.nan), (-1.0, 2.0)])
def test_an_alpha_that_is_no_stride_is_refused(state, path, alpha):
    model = nn.Sequential(DynOPool2d())
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    weights["0.alpha"] = torch.tensor(alpha)
    with pytest.raises(ForeignCheckpointError, match=r"the alpha of 0 is .*, not a finite positive stride"):
        checkpoints.restore_model(model, replace(state, model=weights), path)
    assert torch.equal(model.state_dict()["0.alpha"], DynOPool2d().state_dict()["alpha"])


def test_a_full_disk_leaves_the_old_checkpoint(path, state, monkeypatch):
    old = path.read_bytes()

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match="free some space"):
        checkpoints.save(state, path)
    assert path.read_bytes() == old
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]


def test_unwritable_folder(tmp_path, state):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnwritableError, match="cannot write"):
        checkpoints.save(state, tmp_path / "file" / "last.pt")


def test_all_errors_have_one_base():
    assert issubclass(DiskFullError, UnwritableError)
    assert all(issubclass(e, TrainingError) for e in (DamagedCheckpointError, ForeignCheckpointError, UnwritableError))
