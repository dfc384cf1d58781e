"""Implementations of the operator, one module each; ``reference`` is pure PyTorch and runs everywhere."""
