"""The hooks of a converted model: they keep alphas that a state dict lacks, refuse scripting, and can be taken off."""

import pytest
import torch
from torch import nn

import dynpool
from dynpool.resolution.attached import GiveSize, attach_tree, detach_tree
from dynpool.resolution.tree import resolution_tree
from tests.networks import three_resizers


def test_a_state_dict_of_before_the_conversion_leaves_the_alphas_as_they_are(model: nn.Module) -> None:
    dynpool.set_sizes(model, {"2": (9, 21)})
    before = dynpool.sizes(model, (3, 32, 32))
    state = {name: value + 1 for name, value in three_resizers().state_dict().items()}
    model.load_state_dict(state)
    assert dynpool.sizes(model, (3, 32, 32)) == before
    assert torch.equal(model.get_parameter("0.weight"), state["0.weight"])


def test_a_state_dict_that_has_some_alphas_only_is_refused(model: nn.Module) -> None:
    state = model.state_dict()
    del state["2.alpha"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"2\.alpha"'):
        model.load_state_dict(state)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of newer versions, in which torch.jit.trace is deprecated
def test_what_the_pass_computes_cannot_be_scripted_or_traced_and_says_so(model: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"torch\.jit\.script cannot compile a converted model.*dynpool\.freeze"):
        torch.jit.script(model)
    with pytest.raises(TypeError, match=r"torch\.jit\.trace cannot record a converted model.*dynpool\.freeze"):
        torch.jit.trace(model, torch.ones(1, 3, 32, 32))
    with pytest.raises(TypeError, match=r"torch\.fx cannot trace a converted model.*dynpool\.freeze"):
        torch.fx.symbolic_trace(model)


def test_a_model_without_its_tree_has_none_of_its_hooks_and_with_it_runs_as_before(model: nn.Module) -> None:
    x = torch.randn(1, 3, 32, 32)
    dynpool.set_sizes(model, {"2": (9, 21)})
    out, tree = model.eval()(x), resolution_tree(model)
    assert tree is not None
    given = [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]
    resizers = [(tree.resizers[path], hook) for path, hook in zip(tree.slots, given[1:], strict=True)]
    detach_tree(model)
    assert resolution_tree(model) is None
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in [model, *tree.resizers.values()])
    loading = [getattr(hook, "hook", hook).__module__ for hook in model._load_state_dict_pre_hooks.values()]
    assert attach_tree.__module__ not in loading
    for resizer, hook in resizers:
        assert isinstance(hook, GiveSize)
        resizer.register_forward_pre_hook(hook, with_kwargs=True)
    attach_tree(model, tree)
    assert torch.equal(model(x), out)
