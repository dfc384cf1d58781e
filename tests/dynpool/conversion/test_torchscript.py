"""Frozen models as TorchScript, whole and in parts; what cannot be scripted is refused with the reason."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import create_feature_extractor

import dynpool
from tests.dynpool.conversion.learned import SIZE, Branches, close, learn


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("how", [{}, {"preserve": True}, {"order": "before"}, {"order": "before", "preserve": True}])
@torch.no_grad()
def test_frozen_models_are_scripted_and_traced(how: dict[str, object]) -> None:
    torch.manual_seed(0)
    net = Branches().eval()
    net.norm.weight.copy_(torch.tensor([1.0, -1.0, 0.5, -2.0]))  # folded over a max pool, negative ones change outputs
    model = learn(dynpool.convert(net, SIZE, **how)).eval()  # type: ignore[arg-type]
    frozen = dynpool.freeze(model)
    x, larger = torch.randn(2, *SIZE), torch.randn(1, 3, 80, 96)
    frozen(larger)  # sizes of another input are not what is recorded
    scripted = torch.jit.script(frozen)
    assert list(scripted.state_dict()) == list(frozen.state_dict())
    symbolic = torch.fx.symbolic_trace(frozen)
    features = create_feature_extractor(frozen, {"add_1": "sum"})
    for _ in range(2):
        expected = model(x)
        close(scripted(x), expected)
        close(torch.jit.trace(frozen, x)(x), expected)
        close(symbolic(x), expected)
        close(fuse(symbolic)(x), expected)
        close(features(x)["sum"], expected)
        close(frozen(larger), model(larger))  # nor does it change what was recorded


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("how", [{}, {"preserve": True}, {"order": "before"}, {"order": "before", "preserve": True}])
@torch.no_grad()
def test_parts_of_frozen_models_are_scripted(how: dict[str, object]) -> None:
    """At the sizes that they have in a pass of the whole model at the input of the conversion."""
    torch.manual_seed(0)
    frozen = dynpool.freeze(learn(dynpool.convert(Branches().eval(), SIZE, **how)).eval())  # type: ignore[arg-type]
    given: dict[str, Tensor] = {}
    made: dict[str, Tensor] = {}
    parts = {name: frozen.get_submodule(name) for name in ("left", "right", "deep", "deep.0", "up")}
    seeing = []
    for name, part in parts.items():

        def see(_: object, args: tuple[Tensor, ...], out: Tensor | None = None, name: str = name) -> None:
            (given if out is None else made)[name] = (args[0] if out is None else out).clone()

        seeing += [part.register_forward_pre_hook(see, prepend=True), part.register_forward_hook(see)]
    frozen(torch.randn(2, *SIZE))
    for handle in seeing:
        handle.remove()
    frozen(torch.randn(1, 3, 80, 96))  # sizes of another input are not what is compiled
    before = [part.extra_repr() for part in frozen.modules()]
    for name, part in parts.items():
        x, expected = given[name], made[name]
        scripted = torch.jit.script(part)
        assert list(scripted.state_dict()) == list(part.state_dict())
        close(scripted(x), expected)
        close(torch.jit.script(nn.Sequential(part))(x), expected)
    assert [part.extra_repr() for part in frozen.modules()] == before


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_cannot_be_scripted_or_traced_says_so() -> None:
    class Calling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.max_pool2d(self.conv(x), 2)

    net = nn.Sequential(Calling(), nn.Conv2d(4, 4, 1))
    live = dynpool.convert(net, SIZE)
    dynpool.set_sizes(live, {next(iter(dynpool.resolutions(live))): (20, 30)})
    frozen = dynpool.freeze(live)
    with pytest.raises(TypeError, match=r"cannot compile 0 \(Calling\) of a frozen model.* use torch\.jit\.trace"):
        torch.jit.script(frozen)
    x = torch.randn(1, *SIZE)
    close(torch.fx.symbolic_trace(frozen)(x), live(x))
    with pytest.raises(TypeError, match=r"a converted model.*dynpool\.freeze"):
        torch.jit.script(live)
    with pytest.raises(TypeError, match=r"a converted model.*dynpool\.freeze"):
        torch.fx.symbolic_trace(live)
