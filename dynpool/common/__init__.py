"""Helpers for all packages: argument checks, suggestions for mistyped names, lazy imports."""
