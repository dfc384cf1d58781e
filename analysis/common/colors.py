"""Colours of methods and of layers, the same in all plots and pages.

Those of methods are the Okabe-Ito palette, then others; those of layers differ in brightness as well as in hue: all for
readers with colour blindness.
"""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["DYNOPOOL", "FILLS", "HUMAN", "OTHERS", "TEXTS", "UNDERUTILIZED", "UNPRODUCTIVE"]

HUMAN, DYNOPOOL = "#0072B2", "#D55E00"
OTHERS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F3C8D", "#6B6B00", "#444444", "#A50F3C")

UNPRODUCTIVE, UNDERUTILIZED = "unproductive", "underutilized"
FILLS = MappingProxyType({UNPRODUCTIVE: "#A50F15", UNDERUTILIZED: "#F5A623", "": "#DCE6F1"})
TEXTS = MappingProxyType({UNPRODUCTIVE: "#ffffff", UNDERUTILIZED: "#1a1a1a", "": "#1a1a1a"})
