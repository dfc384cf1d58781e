"""Comparison of training runs: tables, findings, plots and an HTML report."""
