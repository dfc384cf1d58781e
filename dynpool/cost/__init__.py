"""Multiply-accumulates of a model, and their differentiable form as a loss."""
