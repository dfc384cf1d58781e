"""Shorter and wider: blocks with too large receptive fields are removed, the remaining layers widened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from dynpool.analysis.fields import Layer, compile_fields
from dynpool.graph import Graph, Node, trace

from .figures import Figures, ImageSize, RefinementResult, figures_of, measure
from .layer_changes import LayerChange, weights_at
from .plan import Edit, apply_edits
from .widths import Widths

__all__ = ["Block", "find_blocks", "removal", "shorter_and_wider"]

_WIDEST = 16.0  # the largest width factor tried
_FACTOR_STEP = 1e-4
_ENOUGH_WEIGHTS = 0.95  # the fraction of the original weights from which on there is no remark


@dataclass(frozen=True)
class Block:
    """A module with one input and one output map, as values of the graph, and its nodes."""

    path: str
    source: int
    result: int
    nodes: range


def find_blocks(model: nn.Module, graph: Graph) -> tuple[Block, ...]:
    """The blocks that could be removed from a network, in order of execution.

    These are modules of a type with shortcuts (of nested ones the outermost) and, outside of these, members of an
    `nn.Sequential` (of nested ones the innermost). All run exactly once and have a convolution with a kernel larger
    than one pixel.
    """
    modules = dict(model.named_modules())
    windowed = {node.index for node in graph.nodes if _is_windowed(graph, node)}
    found = [block for block in _whole_modules(modules, graph) if windowed.intersection(block.nodes)]
    kinds = {type(modules[block.path]) for block in found if _has_shortcut(graph, block)} - {nn.Sequential}
    alike = [block for block in found if type(modules[block.path]) in kinds]
    outermost = [b for b in alike if not any(_inside(b, other) for other in alike)]
    members = [b for b in found if not any(b == o or _inside(b, o) or _inside(o, b) for o in outermost)]
    listed = [b for b in members if isinstance(modules[b.path.rpartition(".")[0]], nn.Sequential)]
    innermost = [b for b in listed if not any(_inside(other, b) for other in listed)]
    return tuple(sorted(outermost + innermost, key=lambda b: b.nodes.start))


def removal(model: nn.Module, graph: Graph, block: Block) -> Edit | str:
    """The edit that removes a block, or the reason why it cannot be removed.

    If the block has more output than input channels, the layers before it are widened to match the layers behind it.
    """
    taken, given = (graph.values[v].shape[1] for v in (block.source, block.result))
    changes: tuple[LayerChange, ...] = ()
    if taken != given:
        widths = Widths(model, graph)
        number = widths.class_of(block.source)
        if taken > given or number is None:
            return f"{block.path} has {taken} input and {given} output channels"
        try:
            changes = widths.changes({number: given})
        except ValueError as error:
            return f"{block.path} has {taken} input and {given} output channels, and {error}"
    inside = block.path + "."
    kept = tuple(c for c in changes if not c.layer.startswith(inside) and c.layer != block.path)
    return Edit("block removed", (*kept, LayerChange(block.path, "kept", (1,), (0,))))


def shorter_and_wider(model: nn.Module, graph: Graph, before: Figures) -> RefinementResult:
    """Edits that remove blocks from the end of the network until I_min < I_res, then widen it to as many weights."""
    now, size = model, graph.input_size
    edits: list[Edit] = []
    figures = before
    stays: dict[str, str] = {}
    while not figures.fits(size):
        wide = _underutilized_nodes(graph, size)
        for block in _removal_order(now, graph, wide):
            if block.path in stays:
                continue
            edit = removal(now, graph, block)
            if isinstance(edit, str):
                stays[block.path] = edit
                continue
            shorter = apply_edits(now, [edit])
            try:
                graph = trace(shorter, size, inputs=graph.example)
            except ValueError as error:
                stays[block.path] = str(error)
                continue
            now, figures = shorter, figures_of(shorter, graph)
            edits.append(edit)
            break
        else:
            names = ", ".join(dict.fromkeys(graph.nodes[i].path for i in sorted(wide)))
            return RefinementResult((), before, f"no removable block brings r_min below I_res in {names}", stays)
    wider = _widened(now, graph, before.parameters)
    if wider is None:
        return RefinementResult(tuple(edits), figures, "nothing could be widened: no width can change")
    figures = measure(apply_edits(now, [wider]), graph)
    part = figures.parameters / before.parameters
    short = f"only {part:.0%} of the original weights, as the widths that can change grow at most {_WIDEST:g} times"
    return RefinementResult((*edits, wider), figures, "" if part > _ENOUGH_WEIGHTS else short)


def _underutilized_nodes(graph: Graph, size: ImageSize) -> set[int]:
    """Nodes of the underutilized layers, whose own r_min is at least I_res along an axis."""
    program = compile_fields(graph)
    names = {row.name for row in program.rows() if any(r >= n for r, n in zip(row.r_min, size[1:], strict=True))}
    return {step.node for step in program.steps if isinstance(step, Layer) and step.name in names}


def _removal_order(model: nn.Module, graph: Graph, wide: set[int]) -> list[Block]:
    """Blocks in the order in which removals are tried: those that contain nodes in `wide`, then those before them
    without a shortcut; later blocks first."""
    blocks = [block for block in reversed(find_blocks(model, graph)) if block.nodes.start <= max(wide)]
    containing = [block for block in blocks if wide.intersection(block.nodes)]
    return containing + [block for block in blocks if block not in containing and not _has_shortcut(graph, block)]


def _widened(model: nn.Module, graph: Graph, parameters: int) -> Edit | None:
    """The edit that widens all free widths by a common factor, to at most the given number of weights.

    The remainder that rounding to whole channels leaves goes to single widths, one channel each.
    """
    widths = Widths(model, graph)
    modules = dict(model.named_modules())
    missing = parameters - sum(p.numel() for p in model.parameters())
    free = {number: c.width for number, c in widths.classes.items() if not c.pinned and c.producers}

    def at(factor: float) -> dict[int, int]:
        return {number: round(width * factor) for number, width in free.items()}

    def fits(wanted: Mapping[int, int]) -> bool:
        changes = widths.changes(wanted)
        added = (weights_at(modules[c.layer], c.after) - weights_at(modules[c.layer], c.before) for c in changes)
        return sum(added) <= missing

    low, high = 1.0, _WIDEST
    while high - low > _FACTOR_STEP:
        middle = (low + high) / 2
        low, high = (middle, high) if fits(at(middle)) else (low, middle)
    chosen = at(low)
    for number in free:
        wider = {**chosen, number: chosen[number] + 1}
        chosen = wider if fits(wider) else chosen
    changes = widths.changes(chosen)
    return Edit("widened", changes) if changes else None


# --- blocks -----------------------------------------------------------------------------------------------------------


def _whole_modules(modules: Mapping[str, nn.Module], graph: Graph) -> Iterator[Block]:
    """Modules that run exactly once, without interruption, with one input map (not a weight) and one output map."""
    readers: dict[int, list[int]] = {}
    maker: dict[int, int] = {}
    for node in graph.nodes:
        maker |= dict.fromkeys(node.outputs, node.index)
        for value in node.inputs:
            readers.setdefault(value, []).append(node.index)
    maker[graph.input_id] = -1
    for path in modules:
        own = [n.index for n in graph.nodes if n.path == path or n.path.startswith(f"{path}.")] if path else []
        if not own or graph.calls.get(path, 0) != 1 or len(own) != own[-1] - own[0] + 1:
            continue
        nodes = range(own[0], own[-1] + 1)
        taken = {v for i in nodes for v in graph.nodes[i].inputs if v in maker and maker[v] not in nodes}
        given = {v for i in nodes for v in graph.nodes[i].outputs if any(r not in nodes for r in readers.get(v, []))}
        if len(taken) == len(given) == 1:
            yield Block(path, taken.pop(), given.pop(), nodes)


def _is_windowed(graph: Graph, node: Node) -> bool:
    return node.op == "aten.convolution" and max(node.arguments["weight"].shape[2:]) > 1


def _has_shortcut(graph: Graph, block: Block) -> bool:
    """Whether the module itself, not a submodule, adds two maps."""
    own = (graph.nodes[i] for i in block.nodes if graph.nodes[i].path == block.path)
    return any(node.op in ("aten.add", "aten.add_") and len(node.inputs) == 2 for node in own)


def _inside(inner: Block, outer: Block) -> bool:
    return inner.path.startswith(f"{outer.path}.")
