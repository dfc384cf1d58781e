"""`prune_globally` and `pruning_curve`: one-shot global magnitude pruning, and the score that is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from dynpool.common.arguments import check_model, check_numbers, is_number
from dynpool.graph import deep_copy, untouched

from ..common.batches import check_progress, random_states_kept
from .pruning_report import PruningReport, PruningRow

__all__ = ["prune_globally", "pruning_curve"]

Evaluate = Callable[[nn.Module], Any]
FineTune = Callable[[nn.Module], object]
Progress = Callable[[int, int], object]


@torch.inference_mode(False)
def prune_globally(model: nn.Module, amount: float) -> nn.Module:
    """A copy of a model without the given share of its weights: those of the smallest magnitude in all layers together.

    One-shot global unstructured magnitude pruning of the weights of all convolutions and linear layers, with
    `torch.nn.utils.prune.global_unstructured` and `L1Unstructured`. Biases, normalisation and the alphas of learned
    resizers are not pruned. Each pruned layer has its mask in the buffer `weight_mask` and its weights in the
    parameter `weight_orig`: training changes only what the mask keeps. `torch.nn.utils.prune.remove(layer, "weight")`
    makes a mask permanent.

    Args:
        model: any model, also a converted or frozen one; it stays as it is. The copy has its mode.
        amount: share of the weights to remove, from 0 to below 1; their number is rounded.

    Raises:
        TypeError: for an argument of a wrong type.
        ValueError: if there is no convolution or linear layer, or some of them are pruned or parametrized already,
            share their weight, or have weights that are not finite; or if `amount` is out of range.

    Example:
        >>> pruned = prune_globally(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 5)), 0.75)
        >>> sum(int(layer.weight_mask.sum()) for layer in (pruned[0], pruned[2]))  # of 216 + 160
        94
    """
    check_model(model)
    _check_amount("amount", amount)
    _check_weights(model)
    with untouched(model):
        pruned = deep_copy(model)
        layers = _prunable(pruned)
        prune.global_unstructured(
            [(layer, "weight") for layer in layers.values()],
            pruning_method=prune.L1Unstructured,
            amount=float(amount),  # an integer would be a number of weights
        )
    return pruned


@torch.inference_mode(False)
def pruning_curve(
    model: nn.Module,
    amounts: Sequence[float],
    evaluate: Evaluate,
    *,
    fine_tune: FineTune | None = None,
    progress: Progress | None = None,
) -> PruningReport:
    """The score of a model after one-shot global magnitude pruning at several amounts, before and after fine-tuning.

    As in Avendano, "Receptive Field and Neural Networks Representations" (amounts of 0.5 to 0.9): a network whose
    receptive field exceeds the image loses less, as layers behind the border layer contribute little. See
    `prune_globally`. Each amount starts from a copy of the model and from the same random states; the model, its mode,
    and the random states stay as they are.

    Args:
        model: any model, also a converted or frozen one.
        amounts: shares of the weights to remove, each from 0 to below 1.
        evaluate: called as evaluate(model) with a copy in eval mode; returns one number, such as the accuracy.
        fine_tune: called as fine_tune(model) with the pruned copy in training mode, which it trains in place. The
            masks must hold: what was pruned stays zero.
        progress: called as progress(amounts done, amounts in all) before the first amount and after each.

    Returns:
        The report: the score of the whole model, and for each amount, in rising order, the weights that are left, the
        sparsity of each layer and the scores.

    Raises:
        TypeError: for an argument of a wrong type, or an `evaluate` that does not return one number.
        ValueError: for a bad argument, a model that `prune_globally` does not accept, or a `fine_tune` that changed
            pruned weights.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 5))
        >>> report = pruning_curve(net, [0.5, 0.75], lambda m: float(m[0].weight.count_nonzero() / 216))
        >>> [(row.amount, row.kept) for row in report.rows]
        [(0.5, 188), (0.75, 94)]
    """
    check_model(model)
    if not isinstance(amounts, (list, tuple)) or not amounts:
        raise TypeError(f"amounts={amounts!r}: expected a list of numbers from 0 to below 1, one or more")
    for amount in amounts:
        _check_amount("amounts", amount)
    if not callable(evaluate):
        raise TypeError(f"evaluate must be callable, got {evaluate!r}")
    if fine_tune is not None and not callable(fine_tune):
        raise TypeError(f"fine_tune must be callable, got {fine_tune!r}")
    check_progress(progress)
    _check_weights(model)
    with untouched(model), random_states_kept(model):
        dense = _score(evaluate, deep_copy(model))
    rows = []
    ordered = sorted({float(amount) for amount in amounts})
    for done, amount in enumerate(ordered):
        if progress is not None:
            progress(done, len(ordered))
        with untouched(model), random_states_kept(model):
            rows.append(_row(prune_globally(model, amount), amount, evaluate, fine_tune))
    if progress is not None:
        progress(len(ordered), len(ordered))
    empty = {name: row.amount for row in reversed(rows) for name, share in row.sparsity.items() if share == 1}
    notices = tuple(f"{name!r} has no weight left from an amount of {amount:g} on" for name, amount in empty.items())
    return PruningReport(type(model).__name__, dense, tuple(rows), notices)


def _row(pruned: nn.Module, amount: float, evaluate: Evaluate, fine_tune: FineTune | None) -> PruningRow:
    layers = _prunable(pruned, also_pruned=True)
    masks = {name: layer.get_buffer("weight_mask").clone() for name, layer in layers.items()}
    before = _score(evaluate, pruned)
    after = None
    if fine_tune is not None:
        fine_tune(pruned.train())
        _check_masks(layers, masks, amount)
        after = _score(evaluate, pruned)
    return PruningRow(
        amount=amount,
        kept=sum(int(mask.sum()) for mask in masks.values()),
        weights=sum(mask.numel() for mask in masks.values()),
        sparsity={name: 1 - float(mask.double().mean()) for name, mask in masks.items()},
        score=before,
        score_after=after,
    )


def _score(evaluate: Evaluate, model: nn.Module) -> float:
    value = evaluate(model.eval())
    if not is_number(value):
        raise TypeError(f"evaluate must return one number, got {value!r}")
    return float(value)


def _check_masks(layers: dict[str, nn.Module], masks: dict[str, Tensor], amount: float) -> None:
    """Raise ValueError if a pruned weight is not zero any more."""
    for name, layer in layers.items():
        weight, mask = cast("Tensor", layer.weight), masks[name]
        if "weight_orig" in layer._parameters:  # else the masks were made permanent
            weight = layer.get_parameter("weight_orig") * layer.get_buffer("weight_mask")
        changed = int((weight.detach()[mask.to(weight.device) == 0] != 0).sum())
        if changed:
            raise ValueError(
                f"fine_tune: {changed} pruned weights of {name!r} are not zero after it, at an amount of {amount:g}: "
                "keep the masks, or prune.remove after the last step only"
            )


def _prunable(model: nn.Module, *, also_pruned: bool = False) -> dict[str, nn.Module]:
    """All convolutions and linear layers by name."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear))
        and (also_pruned or isinstance(layer._parameters.get("weight"), nn.Parameter))
    }


def _check_weights(model: nn.Module) -> None:
    """Raise ValueError if the model cannot be pruned."""
    every, layers = _prunable(model, also_pruned=True), _prunable(model)
    if not every:
        raise ValueError(f"model: the {type(model).__name__} has no convolution or linear layer to prune")
    masked = [name for name, layer in every.items() if "weight_mask" in layer._buffers]
    if masked:
        raise ValueError(
            f"model: {', '.join(map(repr, masked[:5]))} are pruned already, and it is not clear what an amount is then "
            "a share of: give the original, or make the masks permanent with torch.nn.utils.prune.remove"
        )
    other = [name for name, layer in every.items() if parametrize.is_parametrized(layer) or name not in layers]
    if other:
        raise ValueError(
            f"model: the weights of {', '.join(map(repr, other[:5]))} are computed from other parameters, and cannot "
            "be pruned: remove the parametrization first"
        )
    owners: dict[int, str] = {}
    for name, layer in layers.items():
        weight = layer.get_parameter("weight")
        if id(weight) in owners:
            raise ValueError(f"model: {owners[id(weight)]!r} and {name!r} share their weight, which pruning would part")
        owners[id(weight)] = name
        if not bool(torch.isfinite(weight).all()):
            raise ValueError(f"model: the weight of {name!r} has NaN or infinities, which have no order of magnitude")


def _check_amount(argument: str, amount: object) -> None:
    check_numbers("a number from 0 to below 1", lambda value: 0 <= value < 1, **{argument: amount})
