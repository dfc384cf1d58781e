"""Suggestions for mistyped names."""

import difflib
from collections.abc import Iterable

__all__ = ["nearest"]

LISTED = 20
ALIKE = 0.6  # of difflib: below, what two names have in common is chance


def nearest(word: str, known: Iterable[str], *, most: int = 1, listing: str = "") -> str:
    """'; did you mean X?' for the known words closest to `word`, at most `most` of them; else the list of known words.

    Args:
        word: what was typed; dashes in front of it and of known words do not count.
        known: the words that would have been right.
        most: how many to suggest.
        listing: where to find the list, such as "--help lists all", if there are more than twenty known words; without
            it the list is cut short.
    """
    known = list(known)
    plain = {k.lstrip("-"): k for k in reversed(known)}
    typed = word.lstrip("-")
    close = [plain[k] for k in difflib.get_close_matches(typed, plain, n=most, cutoff=ALIKE)]
    if not close:  # a key given without its section, or with the wrong one; or a short one with letters exchanged
        last = sorted(typed.rsplit(".", 1)[-1])
        close = [k for k in known if sorted(k.rsplit(".", 1)[-1].lstrip("-")) == last][:most]
    if not close and len(typed) > 2:
        close = [k for k in known if typed in k][:most]
    if close:
        return f"; did you mean {' or '.join(map(repr, close))}?"
    if len(known) > LISTED and listing:
        return f"; {listing}"
    return f"; known: {', '.join(known[:LISTED])}" + (f" and {len(known) - LISTED} more" * (len(known) > LISTED))
