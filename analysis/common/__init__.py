"""Shared by all of the analysis: plot style, number formats, axis names, atomic files, checksums."""
