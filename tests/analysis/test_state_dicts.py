"""Weights of any program's file, refused where they are not those of the model."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import dynpool
from analysis.state_dicts import load_weights, read_state_dict

SIZE = (3, 16, 16)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3))


@pytest.mark.parametrize("wrap", [
    lambda s: s,
    lambda s: {"state_dict": s, "epoch": 3},
    lambda s: {"model": {f"module.{k}": v for k, v in s.items()}, "optimizer": {}},
    lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
])  # fmt: skip
def test_files_of_several_programs(wrap, tmp_path):
    saved = network(1).state_dict()
    torch.save(wrap(saved), tmp_path / "a.pt")
    loaded = load_weights(network(), tmp_path / "a.pt", SIZE)
    assert all(torch.equal(value, saved[name]) for name, value in loaded.state_dict().items())


def test_safetensors(tmp_path):
    saved = network(1).state_dict()
    save_file(saved, tmp_path / "a.safetensors")
    assert torch.equal(read_state_dict(tmp_path / "a.safetensors")["2.bias"], saved["2.bias"])


def test_learned_sizes_come_back(tmp_path):
    learned = dynpool.convert(network(1), SIZE)
    dynpool.set_sizes(learned, {"0": (11, 5)})
    torch.save(learned.state_dict(), tmp_path / "a.pt")
    loaded = load_weights(network(), tmp_path / "a.pt", SIZE)
    assert dynpool.sizes(loaded, SIZE) == dynpool.sizes(learned, SIZE)
    assert (11, 5) in dynpool.sizes(loaded, SIZE).values()


def test_what_is_no_checkpoint_of_the_model(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        load_weights(network(), path, SIZE)
    for content in (b"", b"text", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.pt, which cannot be read as weights: \S"):
            load_weights(network(), path, SIZE)
    broken = tmp_path / "a.safetensors"
    broken.write_bytes(b"\xff" * 16)
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_weights(network(), broken, SIZE)
    torch.save({"loss": 3.0}, path)
    with pytest.raises(ValueError, match="which holds no weights: neither tensors by name nor an entry state_dict"):
        load_weights(network(), path, SIZE)
    torch.save(nn.Linear(3, 3).state_dict(), path)
    with pytest.raises(
        ValueError, match=r"of another model: missing 0\.bias, 0\.weight, 2\.bias and 1 more; unknown bias, w"
    ):
        load_weights(network(), path, SIZE)
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 4, 3)).state_dict(), path)
    with pytest.raises(ValueError, match=r"another model: 0\.weight is \(4, 3, 5, 5\), not \(4, 3, 3, 3\)"):
        load_weights(network(), path, SIZE)
