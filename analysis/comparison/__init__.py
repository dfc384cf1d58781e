"""Comparison of training runs: tables, findings, plots and an HTML report."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names

if TYPE_CHECKING:
    from .examples import EXAMPLES_FILE
    from .html import write_report
    from .metrics_table import read_rows
    from .read_runs import Run, find_runs, read_run
    from .summary import Comparison, compare_runs

__all__ = ["EXAMPLES_FILE", "Comparison", "Run", "compare_runs", "find_runs", "read_rows", "read_run", "write_report"]

if not TYPE_CHECKING:  # a command imports only what it needs
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "examples": "EXAMPLES_FILE",
            "html": "write_report",
            "metrics_table": "read_rows",
            "read_runs": "Run find_runs read_run",
            "summary": "Comparison compare_runs",
        },
    )
