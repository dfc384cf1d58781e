"""Tables as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["aligned"]


def aligned(table: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """The lines of a table, columns two spaces apart, without spaces at the end.

    Args:
        table: rows of equally many cells.
        left: columns that are aligned to the left; the others are to the right.

    Example:
        >>> aligned([("layer", "size"), ("conv", "16"), ("fc", "8")], left={0})
        ['layer  size', 'conv     16', 'fc        8']
    """
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
