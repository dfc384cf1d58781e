"""Plots of one model's receptive fields."""
