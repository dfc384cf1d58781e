"""The effect of each operation on receptive fields."""
