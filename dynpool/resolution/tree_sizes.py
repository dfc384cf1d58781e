"""All sizes of a tree of resolutions, from the input's down: pure functions of its nodes and of values of the alphas.

size(child) = output_size(size(parent), strides(alpha))       by the arithmetic of the resizer in use
            = multiple * max(1, round(output_size(...) / multiple))       where sizes must be multiples
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dynpool.resizers import Chain, LearnedResizer
from dynpool.size_math import PerAxis, Size

from .nodes import Derived, Learned, Pinned, ResolutionNode, learned_nodes

__all__ = ["chain_factors", "sizes_with_fractions"]

_NONE: Mapping[int, Size] = MappingProxyType({})


def sizes_with_fractions(
    nodes: Sequence[ResolutionNode],
    hw: Size,
    values: Sequence[PerAxis],
    *,
    given: Mapping[int, Size] = _NONE,
    learned_sizes: Mapping[int, Size] = _NONE,
) -> list[tuple[Size, PerAxis]]:
    """The size of every node in pixels, and the same with the fraction that some resizers pass on.

    Args:
        nodes: parents before children; node 0 is the input.
        hw: (height, width) of the input in pixels, or as many numbers as it has axes.
        values: values of the alphas, in the order of the nodes.
        given: sizes of nodes of any kind, by index, used instead of computed ones.
        learned_sizes: sizes of learned nodes, by index, used instead of those that their alphas give.
    """
    factors = chain_factors(nodes, hw, values)
    strides = {
        i: divided(resizer.strides(value), factors.get(type(resizer)))
        for (i, _, resizer), value in zip(learned_nodes(nodes), values, strict=True)
    }
    sizes: list[tuple[Size, PerAxis]] = []
    for i, node in enumerate(nodes):
        pixels, exact = (hw, hw) if node.parent is None else sizes[node.parent]
        rule = node.rule
        if i in given:
            pixels = exact = given[i]
        elif isinstance(rule, Pinned):
            pixels = exact = rule.size
        elif isinstance(rule, Derived):
            pixels = rule.rule(pixels)
            exact = pixels if rule.strides is None else divided(exact, rule.strides)
        elif isinstance(rule, Learned) and rule.resizer is not None:
            above = exact if rule.resizer.keeps_fractions else pixels
            pixels = learned_sizes.get(i) or rule.admit(rule.resizer.output_size(above, strides[i]))
            exact = divided(above, strides[i]) if rule.resizer.keeps_fractions else pixels
        elif node.parent is not None:
            raise ValueError(f"resolution {node.name!r} has neither an alpha, a fixed size nor a rule")
        sizes.append((pixels, exact))
    return sizes


def chain_factors(nodes: Sequence[ResolutionNode], hw: Size, values: Sequence[PerAxis]) -> dict[type, PerAxis]:
    """Multipliers of the scale factors, for resizer classes that depend on whole chains of resizers; none for others.

    Arguments as in :func:`sizes_with_fractions`.
    """
    resizers = {i: resizer for i, _, resizer in learned_nodes(nodes)}
    looking = {type(resizer) for resizer in resizers.values() if resizer.looks_at_chains}
    if not looking:
        return {}
    strides = {i: resizer.strides(value) for (i, resizer), value in zip(resizers.items(), values, strict=True)}
    sizes: list[PerAxis] = []  # without rounding
    chains: list[tuple[LearnedResizer[Any], ...]] = []
    for i, node in enumerate(nodes):
        above: PerAxis = hw if node.parent is None else sizes[node.parent]
        chain = () if node.parent is None else chains[node.parent]
        if i in resizers:
            above, chain = divided(above, strides[i]), (*chain, resizers[i])
        elif isinstance(node.rule, Pinned):
            above = node.rule.size
        elif isinstance(node.rule, Derived) and node.parent is not None:
            above = divided(above, node.rule.strides or divided(nodes[node.parent].reference, node.reference))
        sizes.append(above)
        chains.append(chain)
    inner = {node.parent for node in nodes}
    ends = [Chain(chain, size) for i, (chain, size) in enumerate(zip(chains, sizes, strict=True)) if i not in inner]
    found = {kind: kind.chain_factor([c for c in ends if any(type(p) is kind for p in c.resizers)]) for kind in looking}
    return {kind: factor for kind, factor in found.items() if factor is not None}


def divided(values: PerAxis, by: PerAxis | None) -> PerAxis:
    return values if by is None else tuple([n / b for n, b in zip(values, by, strict=True)])
