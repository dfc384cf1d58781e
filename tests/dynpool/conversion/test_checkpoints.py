"""Checkpoints say how their model was converted; other conversions are refused, and models are rebuilt from them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import dynpool
from dynpool.baselines import ShapeAdaptor2d, shape_adaptor_network
from dynpool.conversion.checkpoints import read_state_dict
from dynpool.resizers.dynopool import DynOPool2d
from tests.dynpool.conversion.ways import SIZE, WAYS, moved, prefixed
from tests.networks import two_resizers


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3))


@pytest.mark.parametrize("file", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("how", WAYS)
@torch.no_grad()
def test_models_are_rebuilt_from_files(how: dict[str, Any], file: str, tmp_path: Path) -> None:
    live = moved(dynpool.convert(two_resizers(), SIZE, **how)).eval()
    x = torch.randn(1, 3, 40, 36)
    for model in (live, dynpool.freeze(live)):
        dynpool.save(model, tmp_path / file)
        original = two_resizers().eval()
        before = {name: value.clone() for name, value in original.state_dict().items()}
        again = dynpool.load(original, tmp_path / file)
        assert torch.equal(again.eval()(x), model(x))
        assert dynpool.sizes(again, SIZE) == dynpool.sizes(model, SIZE)
        assert all(torch.equal(value, before[name]) for name, value in original.state_dict().items())


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        (lambda s: {"state_dict": prefixed(s, "model."), "epoch": 3}, "model."),
        (lambda s: {"state_dict": prefixed(s, "model.", head=torch.ones(1)), "epoch": 3}, "model"),
        (lambda s: {"model": prefixed(s, "module."), "optimizer": {}}, ""),
        (lambda s: prefixed(prefixed(s, "_orig_mod."), "module."), ""),
    ],
)
@torch.no_grad()
def test_files_of_several_programs(wrap: Callable[[Any], Any], prefix: str, tmp_path: Path) -> None:
    learned = moved(dynpool.convert(network(1), SIZE, order="before"))
    torch.save(wrap(learned.state_dict()), tmp_path / "a.pt")
    again = dynpool.load(network(), tmp_path / "a.pt", prefix=prefix)
    x = torch.randn(1, 3, 40, 36)
    assert torch.equal(again(x), learned(x))
    assert torch.equal(dynpool.load(network(), wrap(learned.state_dict()), prefix=prefix)(x), learned(x))


def test_a_wrong_prefix_is_told_with_the_one_that_is_there() -> None:
    """Names of the model's own parts are no prefixes."""
    state = network().state_dict()
    with pytest.raises(ValueError, match=r"prefix is 'model', but no name in .* starts with it: omit it, as"):
        dynpool.load(network(), state, prefix="model")
    inside = {f"net.{name}": value for name, value in state.items()} | {"head": torch.ones(1)}
    with pytest.raises(
        ValueError, match=r"prefix is 'model\.', but no name in the state dict starts with it; did you mean 'net\.'\?"
    ):
        dynpool.load(network(), inside, prefix="model.")
    with pytest.raises(ValueError, match=r"belongs to another model: missing .*; did you mean the prefix 'net\.'\?"):
        dynpool.load(network(), inside)
    with pytest.raises(ValueError, match=r"but no name in .* starts with it; its names are weight, bias, \.\.\."):
        dynpool.load(network(), nn.Linear(2, 2).state_dict(), prefix="model.")


def test_a_checkpoint_of_another_model_is_told_before_the_model_is_converted() -> None:
    learned = dynpool.convert(network(), SIZE, max_gmacs=1e-3)
    other = nn.Sequential(*network(), nn.Conv2d(3, 3, 3))
    with pytest.raises(ValueError, match=r"the state dict belongs to another model: missing \d+\.bias, \d+\.weight$"):
        dynpool.load(other, learned.state_dict())


def test_a_model_that_needs_several_images_is_rebuilt() -> None:
    class InFours(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            assert len(x) % 4 == 0
            y: Tensor = super().forward(x)
            return y

    learned = dynpool.convert(InFours(*network()), SIZE, batch=4)
    frozen = dynpool.freeze(learned)
    x = torch.randn(4, *SIZE)
    for model in (learned.eval(), frozen.eval()):
        again = dynpool.load(InFours(*network()), model.state_dict()).eval()
        assert torch.equal(again(x), model(x))
    assert dynpool.count_macs(frozen, SIZE).total == dynpool.count_macs(learned, SIZE).total


def test_a_forgotten_prefix_is_told() -> None:
    averaged = torch.optim.swa_utils.AveragedModel(dynpool.convert(network(), SIZE))
    with pytest.raises(
        ValueError, match=r"sizes in 'module', which the model does not have; did you mean the prefix 'module\.'"
    ):
        dynpool.load(network(), averaged.state_dict())
    plain = {f"model.{name}": value for name, value in dynpool.convert(network(), SIZE).state_dict().items()}
    with pytest.raises(ValueError, match=r"does not say how its model was converted: .*, and prefix='model\.'$"):
        dynpool.load(network(), plain)


def test_learned_parts_of_a_model_are_rebuilt_in_their_places(tmp_path: Path) -> None:
    whole = nn.ModuleDict({"body": moved(dynpool.convert(network(1), SIZE)), "head": nn.Linear(2, 2)})
    torch.save(whole.state_dict(), tmp_path / "a.pt")
    again = dynpool.load(nn.ModuleDict({"body": network(), "head": nn.Linear(2, 2)}), tmp_path / "a.pt")
    assert dynpool.sizes(again["body"], SIZE) == dynpool.sizes(whole["body"], SIZE)  # type: ignore[index]


def test_shape_adaptor_networks_are_rebuilt() -> None:
    net = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(6)))
    learned = moved(shape_adaptor_network(net, SIZE, adaptors=3, limit=9)).eval()
    x = torch.randn(1, *SIZE)
    assert torch.equal(dynpool.load(net, learned.state_dict()).eval()(x), learned(x))


def test_without_a_word_of_the_conversion_it_is_asked_for() -> None:
    learned = moved(dynpool.convert(network(1), SIZE, order="before"))
    tensors = dict(learned.state_dict())
    with pytest.raises(ValueError, match=r"the state dict has learned sizes \(0\.resize\.alpha\) but does not say how"):
        dynpool.load(network(), tensors)
    again = dynpool.load(network(), tensors, conversion={"input_size": SIZE, "order": "before"})
    assert dynpool.sizes(again, SIZE) == dynpool.sizes(learned, SIZE)
    plain = dynpool.load(network(), network(1).state_dict())
    assert torch.equal(plain.get_parameter("0.weight"), network(1).get_parameter("0.weight"))


def test_resizers_that_are_not_imported_are_not_looked_for() -> None:
    state: Any = dynpool.convert(network(), SIZE).state_dict()
    state._metadata[""]["dynpool"]["pool"] = "antigravity.Pool2d"
    with pytest.raises(ValueError, match=r"pool=antigravity\.Pool2d, which has not been imported: import it first"):
        dynpool.load(network(), state)
    state._metadata[""]["dynpool"]["by"] = "os.system"
    with pytest.raises(ValueError, match=r"made by 'os\.system', which is unknown"):
        dynpool.load(network(), state)


# ------------------------------------------------------------------------------------------------- bounds and alphas


SHAPES: list[Callable[[OrderedDict[str, Tensor]], dict[str, Tensor]]] = [
    lambda s: s,
    dict,
    lambda s: {name: value.clone() for name, value in s.items()},
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [2, 3, 8, 40, 64])
def test_sizes_beyond_the_bounds_are_loaded(size: int, shape: Callable[[Any], Any]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1)).eval()
    learned, again = dynpool.convert(net, SIZE), dynpool.convert(net, SIZE)
    dynpool.set_sizes(learned, {"1": (size, 5)})
    again.load_state_dict(shape(learned.state_dict()))
    x = torch.randn(1, *SIZE)
    assert torch.equal(again(x), learned(x))
    assert dynpool.sizes(again, SIZE)["1"] == (size, 5)
    assert dynpool.sizes(dynpool.load(net, learned.state_dict()), SIZE)["1"] == (size, 5)


def test_bounds_travel_and_steps_are_still_held() -> None:
    pool, again = DynOPool2d(3.0, bounds=(0.3, 0.5)), DynOPool2d()
    again.load_state_dict(pool.state_dict())
    assert again.bounds == (0.3, 0.5)
    with torch.no_grad():
        again.shared_alpha().fill_(9.0)
    assert again(torch.zeros(1, 1, 30, 30)).shape == (1, 1, 9, 9)  # 0.3 of the pixels at least
    plain = DynOPool2d(bounds=(0.3, 2.0))
    plain.load_state_dict({"alpha": torch.tensor([2.5, 2.5])})
    assert plain.bounds == (0.3, 2.0)  # inside: as they were


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0])
def test_alphas_that_are_no_strides_are_refused_by_name(value: float) -> None:
    model = nn.ModuleDict({"pool": DynOPool2d(2.0)})
    with pytest.raises(RuntimeError, match=r"pool\.alpha is \[.*, 2\.0\]: expected finite values"):
        model.load_state_dict({"pool.alpha": torch.tensor([value, 2.0])})
    assert model.get_parameter("pool.alpha").tolist() == [2.0, 2.0]


# ------------------------------------------------------------------------------------------------------ frozen models


@pytest.mark.parametrize("how", [{}, {"preserve": True}, {"order": "before"}])
@torch.no_grad()
def test_sizes_of_frozen_models_travel(how: dict[str, Any]) -> None:
    live = dynpool.convert(two_resizers(), SIZE, **how).eval()
    other = dynpool.freeze(live)
    dynpool.set_sizes(live, {"1": (11, 21), "2": (7, 4)})
    frozen, x = dynpool.freeze(live), torch.randn(1, 3, 40, 36)
    assert list(frozen.state_dict()) == list(two_resizers().state_dict())
    wrapped, into = nn.ModuleDict({"net": frozen}), nn.ModuleDict({"net": other})
    into.load_state_dict({name: value.clone() for name, value in wrapped.state_dict().items()})
    assert torch.equal(other(x), frozen(x))
    assert dynpool.freeze_report(other) == dynpool.freeze_report(frozen)
    for state in (frozen.state_dict(), live.state_dict()):
        again = dynpool.freeze(dynpool.convert(two_resizers(), SIZE, **how)).eval()
        again.load_state_dict(state)
        assert torch.equal(again(x), frozen(x))
    thawed = dynpool.convert(two_resizers(), SIZE, **how).eval()
    thawed.load_state_dict(frozen.state_dict())
    assert torch.equal(thawed(x), live(x))
    frozen.load_state_dict(two_resizers().state_dict())  # of before the conversion: the sizes stay
    assert dynpool.sizes(frozen, SIZE) == {"input": (32, 32), "1": (11, 21), "2": (7, 4)}


def test_what_is_frozen_for_good_says_so() -> None:
    live = dynpool.convert(two_resizers(), SIZE, pool=ShapeAdaptor2d)
    other = dynpool.freeze(live)
    state = dynpool.freeze(moved(live)).state_dict()
    with pytest.raises(RuntimeError, match=r"frozen at other sizes, and 1 \(FixedShapeAdaptor2d\) cannot change"):
        other.load_state_dict(state)


@pytest.mark.parametrize("frozen", [False, True])
@torch.no_grad()
def test_hugging_face_models_keep_their_sizes(frozen: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")

    class Net(transformers.PreTrainedModel):  # type: ignore[name-defined]
        config_class = transformers.PretrainedConfig

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.net = dynpool.convert(two_resizers(), SIZE)
            if frozen:
                self.net = dynpool.freeze(self.net)
            self.post_init()

    model = Net(transformers.PretrainedConfig()).eval()
    live = dynpool.convert(two_resizers(), SIZE).eval()
    dynpool.set_sizes(live, {"1": (2, 21), "2": (7, 4)})  # beyond the bounds
    model.net = dynpool.freeze(live) if frozen else live
    model.save_pretrained(tmp_path)
    again = Net.from_pretrained(tmp_path).eval()
    x = torch.randn(1, *SIZE)
    saved = model.net.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in again.net.state_dict().items())
    torch.testing.assert_close(
        again.net(x), model.net(x)
    )  # weights in a mapped file: sums in another order on some CPUs
    assert dynpool.sizes(again.net, SIZE) == {"input": (32, 32), "1": (2, 21), "2": (7, 4)}


# -------------------------------------------------------------------------------------------------------------- files


def test_a_frozen_model_in_a_plain_file_is_warned_of(tmp_path: Path) -> None:
    """Its names are those of the original, so that nothing tells it apart; `save` and torch.save keep its sizes."""
    learned = dynpool.convert(network(), (3, 32, 32))
    dynpool.set_sizes(learned, {next(iter(dynpool.resolutions(learned))): (11, 9)})
    frozen = dynpool.freeze(learned)
    save_file(frozen.state_dict(), tmp_path / "plain.safetensors")
    dynpool.save(frozen, tmp_path / "kept.safetensors")
    torch.save(frozen.state_dict(), tmp_path / "kept.pt")
    for name in ("kept.safetensors", "kept.pt"):
        assert dynpool.sizes(dynpool.load(network(), tmp_path / name), (3, 32, 32)) == dynpool.sizes(
            frozen, (3, 32, 32)
        )
    for plain in (tmp_path / "plain.safetensors", dict(frozen.state_dict())):
        with pytest.warns(UserWarning, match=r"neither learned sizes nor metadata.* its sizes are lost.*dynpool\.save"):
            dynpool.load(network(), plain)
    dynpool.save(network(), tmp_path / "original.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynpool.load(network(), network().state_dict())  # metadata that say nothing of a conversion: the original's
        dynpool.load(network(), tmp_path / "original.safetensors")


def test_the_input_size_of_a_given_conversion_is_the_checkpoints_unless_it_is_given() -> None:
    saved = dynpool.convert(network(), (3, 32, 24)).state_dict()
    again = dynpool.load(network(), saved, conversion={"order": "after"})
    assert dynpool.conversion_report(again).input_size == (3, 32, 24)
    other = dynpool.load(network(), saved, conversion={"input_size": (3, 48, 48)})
    assert dynpool.conversion_report(other).input_size == (3, 48, 48)
    with pytest.raises(ValueError, match=r"conversion is .*, which lacks input_size, as does the state dict"):
        dynpool.load(network(), dict(saved), conversion={"order": "after"})


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_a_place_that_cannot_be_written_is_named(name: str) -> None:
    with pytest.raises(OSError, match=rf"path is '/proc/{name}', which cannot be written: "):
        dynpool.save(network(), f"/proc/{name}")


def test_safetensors(tmp_path: Path) -> None:
    saved = network(1).state_dict()
    save_file(saved, tmp_path / "a.safetensors")
    assert torch.equal(read_state_dict(tmp_path / "a.safetensors")["2.bias"], saved["2.bias"])


def damaged(path: Path) -> list[bytes]:
    """A checkpoint cut short, with a flipped byte, and what is none."""
    torch.save(network().state_dict(), path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    name, flags = whole.rindex(b"/data.pkl") + 1, whole.index(b"PK\x01\x02") + 8
    unnamed = whole[:name] + bytes([whole[name] ^ 0x80]) + whole[name + 1 :]
    encrypted = whole[:flags] + bytes([whole[flags] ^ 1]) + whole[flags + 1 :]
    return [
        whole[:-40],
        whole[:middle],
        flipped,
        unnamed,
        encrypted,
        b"",
        b"text",
        b"PK\x03\x04 cut off",
        b"\x80\x02K\x01",
    ]


def test_damaged_files_are_one_sentence_without_bad_advice(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for content in damaged(path):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.pt, which cannot be read as weights: it is damaged") as caught:
            dynpool.load(network(), path)
        assert "weights_only" not in str(caught.value)
        assert "\n" not in str(caught.value)
    broken = tmp_path / "a.safetensors"
    broken.write_bytes(b"\xff" * 16)
    with pytest.raises(ValueError, match="cannot be read as weights: it is damaged"):
        dynpool.load(network(), broken)


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    learned = dynpool.convert(network(), SIZE)
    state: Any = learned.state_dict()
    with pytest.raises(TypeError, match=r"model must be an nn\.Module, got str"):
        dynpool.load("resnet18", state)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="checkpoint must be a path or a state dict, got int"):
        dynpool.load(network(), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="already has learned resizers; convert the original model"):
        dynpool.load(learned, state)
    with pytest.raises(ValueError, match="which is a folder: name a file"):
        dynpool.save(learned, tmp_path)
    for name in ("model.pt", "model.safetensors"):
        with pytest.raises(FileNotFoundError, match=r"there is no folder '.*nowhere'"):
            dynpool.save(learned, tmp_path / "nowhere" / name)
    with pytest.raises(ValueError, match=r"cannot be loaded: .* order is 'after' in the state dict and 'before' here"):
        dynpool.load(network(), state, conversion={"input_size": SIZE, "order": "before"})
    state._metadata[""]["dynpool"] = {"by": "dynpool.convert"}
    with pytest.raises(ValueError, match="description of its conversion lacks arguments, input_size, pool, options"):
        dynpool.load(network(), state)


def test_what_is_no_checkpoint_of_the_model(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        dynpool.load(network(), path)
    with pytest.raises(ValueError, match="which is a folder: name a file in it"):
        dynpool.load(network(), tmp_path)
    torch.save(network(), path)
    with pytest.raises(ValueError, match=r"it holds a torch\.nn\.[\w.]+, but only tensors") as caught:
        dynpool.load(network(), path)
    assert "weights_only" not in str(caught.value)
    torch.save({"loss": 3.0}, path)
    with pytest.raises(ValueError, match="which has no weights: neither named tensors nor an entry state_dict"):
        dynpool.load(network(), path)
    torch.save(nn.Linear(3, 3).state_dict(), path)
    with pytest.raises(
        ValueError, match=r"belongs to another model: missing 0\.bias, 0\.weight, 2\.bias and 1 more; unknown bias, w"
    ):
        dynpool.load(network(), path)
    with pytest.raises(ValueError, match=r"prefix is 'bia', but no name in .* starts with it"):
        dynpool.load(network(), path, prefix="bia")
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Conv2d(4, 4, 3)).state_dict(), path)
    with pytest.raises(ValueError, match=r"another model: 0\.weight is \(4, 3, 5, 5\), not \(4, 3, 3, 3\)"):
        dynpool.load(network(), path)
