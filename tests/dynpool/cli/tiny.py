"""A configuration that trains in a second, for the tests of commands."""

__all__ = ["TINY"]

TINY = """\
name: tiny
model: {name: narrow-vgg, options: {widths: [4, 6, 8]}}
data: {name: digits, variant: tile, resolution: 16, test_fraction: 0.8}
epochs: 1
device: cpu
threads: 1
"""
