"""Receptive fields as numbers."""
