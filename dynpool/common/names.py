"""Names that a user may have mistyped."""

import difflib
from collections.abc import Iterable

__all__ = ["nearest"]


def nearest(word: str, known: Iterable[str], *, most: int = 1) -> str:
    """'; did you mean X?' for the known words closest to `word`, at most `most` of them; else the list of known words.

    A list of more than twenty known words is cut short.
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, n=most, cutoff=0.5)
    if not close:  # a key given without its section, or with the wrong one
        last = word.rsplit(".", 1)[-1]
        close = [k for k in known if k.rsplit(".", 1)[-1] == last][:most]
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    return f"; known: {', '.join(known[:20])}" + (f" and {len(known) - 20} more" if len(known) > 20 else "")
