"""Looking at a model changes nothing: not its tensors, attributes, caches and hooks, nor the process's states."""

import functools
import random
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import dynpool
from benchmarks.untouched import picture
from benchmarks.untouched import process as process_state
from dynpool import baselines
from dynpool.analysis import IMinTracker, effective_receptive_field, receptive_field

SIZE = (3, 32, 32)
SHARED: dict[str, Any] = {}
SEEN: list[Any] = []


def process() -> Any:
    return process_state(), picture(SHARED), picture(SEEN)


# --- models that keep something ---------------------------------------------------------------------------------------


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(x))


class Aliased(Base):
    """One module under two names, and in a list that PyTorch does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Sequential(self.conv, nn.BatchNorm2d(4))
        self.unknown = [self.conv, nn.Conv2d(4, 4, 1)]
        self.tied = nn.Conv2d(3, 4, 3)
        self.tied.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.unknown[1](self.pool(self.again(x)))


class Caches(Base):
    """Keeps what it computes in every kind of place."""

    on_the_class: dict[Any, Any] = {}  # noqa: RUF012 - the fault that is looked for
    bound: Any = None
    running: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.shape: Any = None
        self.grid: Any = None
        self.calls = 0
        self.items: list[Any] = []
        self.table: OrderedDict[Any, Any] = OrderedDict(first=1)
        self.groups: defaultdict[str, list[Any]] = defaultdict(list)
        self.last: deque[Any] = deque(maxlen=2)
        self.kinds: set[Any] = {1}
        self.counts = np.zeros(3)
        self.holder = types.SimpleNamespace(value=None, deeper={"a": [1, 2]})
        self.generator = torch.Generator()
        self.dice = random.Random(0)
        self.constant = torch.ones(3)
        self.register_buffer("running", torch.zeros(()))

    @staticmethod
    @functools.lru_cache
    def remembered(n: int, device: str) -> Tensor:
        return torch.zeros(n, device=device)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self.shape != y.shape:
            self.shape, self.grid = y.shape, torch.arange(y.shape[-1], device=y.device, dtype=y.dtype)
        self.calls += 1
        self.items.append(y)
        self.table["first"], self.table["y"] = y, y
        self.groups["y"].append(y)
        self.last.append(y)
        self.kinds.add(y)
        self.counts[0] += 1
        self.holder.value = y
        self.holder.deeper["a"].append(y)
        type(self).on_the_class[y.shape] = y
        Caches.bound = y
        SHARED["y"] = y
        self.generator.manual_seed(5)
        self.dice.random()
        random.random()
        np.random.rand()
        self.running = self.running + 1
        self.constant.add_(1).requires_grad_()
        self.new = y
        self.added = nn.Conv2d(4, 4, 1)
        self.conv.weight.requires_grad_(False)
        self.training = not self.training
        self.register_forward_hook(lambda *_: None)
        torch.set_default_dtype(torch.float64)
        torch.set_autocast_enabled("cpu", True)
        return y + self.grid + self.remembered(y.shape[-1], str(y.device)) + torch.rand_like(y)


class Hooked(Base):
    """Hooks that store what they see: in a closure, by a bound method, through a nonlocal name."""

    def __init__(self) -> None:
        super().__init__()
        features: dict[str, Any] = {}
        count = 0

        def store(module: nn.Module, args: Any, out: Any) -> None:
            nonlocal count
            count += 1
            features["conv"] = out

        self.kept: list[Any] = []
        self.conv.register_forward_hook(store)
        self.pool.register_forward_hook(functools.partial(self.keep, self.kept))
        self.conv.register_forward_pre_hook(lambda m, a: SEEN.append(a[0]))

    def keep(self, where: list[Any], module: nn.Module, args: Any, out: Any) -> None:
        where.append(out)


class Normed(nn.Module):
    """Weights that are computed from others, in the old ways and the new."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.weight_norm(nn.Conv2d(3, 4, 3, 2, 1))
        self.b = parametrizations.spectral_norm(nn.Conv2d(4, 4, 3, 1, 1))
        self.c = nn.utils.spectral_norm(nn.Conv2d(4, 4, 3, 1, 1))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.pool(self.a(x))))


class Raises(Caches):
    """Changes everything, then fails."""

    kind: type[BaseException] = RuntimeError

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise self.kind("in the middle")


def faster_rcnn_body() -> nn.Module:
    anchors = torchvision.models.detection.anchor_utils.AnchorGenerator(((8,),), ((1.0,),))

    class Body(Base):
        def __init__(self) -> None:
            super().__init__()
            self.anchors = anchors

        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            images = torchvision.models.detection.image_list.ImageList(x, [(32, 32)])
            return y + self.anchors(images, [y])[0].mean()

    return Body()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "plain": Base,
    "aliased": Aliased,
    "caches": Caches,
    "hooked": Hooked,
    "normed": Normed,
    "anchors": faster_rcnn_body,
    "resnet": lambda: torchvision.models.resnet18(num_classes=3),
}


def log(model: nn.Module, path: Path) -> Any:
    return IMinTracker(model, SIZE, path / "i_min.jsonl").log(0)


LOOKS: dict[str, Callable[[nn.Module, Path], Any]] = {
    "count_macs": lambda m, _: dynpool.count_macs(m, SIZE),
    "sizes": lambda m, _: dynpool.sizes(m, SIZE),
    "trace": lambda m, _: dynpool.trace(m, SIZE),
    "convert": lambda m, _: dynpool.convert(m, SIZE),
    "receptive_field": lambda m, _: receptive_field(m, SIZE),
    "tracker": log,
    "refine": lambda m, _: baselines.refine(m, SIZE),
}


@pytest.fixture(autouse=True)
def _clean() -> Any:
    dtype = torch.get_default_dtype()
    yield
    SHARED.clear()
    SEEN.clear()
    Caches.on_the_class.clear()
    torch.set_default_dtype(dtype)
    torch.set_autocast_enabled("cpu", False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", MODELS)
def test_a_look_changes_nothing(name: str, look: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().train()
    model.get_submodule("pool" if name != "resnet" else "layer1").eval()
    for p in list(model.parameters())[::2]:
        p.grad = torch.ones_like(p)
    next(model.parameters()).requires_grad_(False)
    before, outside = picture(model), process()
    on_the_class = dict(Caches.on_the_class), Caches.bound
    LOOKS[look](model, tmp_path)
    assert picture(model) == before
    assert process() == outside
    assert (dict(Caches.on_the_class), Caches.bound) == on_the_class


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, ZeroDivisionError])
def test_nothing_is_changed_where_the_model_raises(kind: type[BaseException]) -> None:
    model = Raises()
    Raises.kind = kind
    before, outside = picture(model), process()
    for look in ("count_macs", "convert", "receptive_field"):
        with pytest.raises(ValueError if issubclass(kind, Exception) else kind):
            LOOKS[look](model, Path())
        assert picture(model) == before
        assert process() == outside
    assert Caches.on_the_class == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["caches", "hooked", "normed", "anchors"])
def test_what_earlier_passes_left_does_no_harm(name: str) -> None:
    """Caches filled by a real pass, on real tensors with a graph: looking works, and the model runs as before."""
    torch.manual_seed(0)
    model = MODELS[name]()
    dtype = torch.get_default_dtype()
    if not isinstance(model, Caches):
        model(torch.randn(2, *SIZE))
    else:
        model.grid, model.shape = torch.arange(8.0), torch.Size((1, 4, 8, 8))
    torch.set_default_dtype(dtype)
    before = picture(model)
    macs = dynpool.count_macs(model, SIZE).total
    learned = dynpool.convert(model, SIZE)
    assert picture(model) == before
    assert macs == dynpool.count_macs(MODELS[name](), SIZE).total
    if name != "caches":
        assert learned(torch.randn(2, *SIZE)).shape == model(torch.randn(2, *SIZE)).shape


def test_a_converted_models_sizes_are_those_of_its_last_pass() -> None:
    """Looking at it at another size, or freezing it, does not move what its parts resize to."""
    learned = dynpool.convert(torchvision.models.resnet18(num_classes=3), (3, 64, 64))
    learned(torch.randn(2, 3, 48, 80))
    before = picture(learned)
    dynpool.count_macs(learned, (3, 96, 32))
    receptive_field(learned, (3, 96, 32))
    dynpool.GMACsLoss(learned, (3, 96, 32))
    dynpool.freeze(learned)
    assert picture(learned) == before


@pytest.mark.parametrize("around", ["autocast", "device", "inference", "no_grad", "float64"])
def test_it_does_not_matter_around_what_one_looks(around: str) -> None:
    model = torchvision.models.resnet18(num_classes=3)
    plain = dynpool.count_macs(model, SIZE).to_dict(), receptive_field(model, SIZE).to_dict()
    where: dict[str, Any] = {
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
        "device": torch.device("meta"),
        "inference": torch.inference_mode(),
        "no_grad": torch.no_grad(),
        "float64": torch.random.fork_rng(devices=[]),
    }
    with where[around]:
        assert (dynpool.count_macs(model, SIZE).to_dict(), receptive_field(model, SIZE).to_dict()) == plain
        learned = dynpool.convert(model, SIZE)
    assert learned(torch.randn(2, *SIZE)).shape == (2, 3)
    assert all(not p.is_meta for p in learned.parameters())


def test_effective_fields_leave_the_weights_as_they_are() -> None:
    model = torchvision.models.resnet18(num_classes=3).train()
    before = picture(model)
    effective_receptive_field(model, SIZE, layer="layer1.0.conv1", samples=2)
    assert picture(model) == before
