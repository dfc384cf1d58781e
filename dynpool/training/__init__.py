"""Training runs and comparisons: configuration, data, models, methods, loop, checkpoints."""

from typing import TYPE_CHECKING

from dynpool.common.lazy import lazy_names

if TYPE_CHECKING:
    from .checkpoint_subject import folder_of_images, subject_of_checkpoint
    from .comparison import compare
    from .comparison_plan import ComparisonPlan, PlannedRuns, plan_comparison
    from .config import ComparisonConfig, RunConfig
    from .config_file import load_config, make_parser
    from .data import load_data
    from .errors import ConfigError, StoppedError, TrainingError, writing
    from .inspection import InspectionOptions, inspect_run
    from .inspection_parts import HessianOptions, PruningOptions, similarity_of
    from .inspection_workers import Wanted, default_workers, measure, measure_runs
    from .interrupts import INTERRUPTED, STOPPED, interruptible, leave_at_once
    from .loop import train
    from .places import check_file, check_folder
    from .progress import bars, final_line, reporting, tell
    from .restored import restored_model
    from .run_folder import RunFolder
    from .sensitivity import RunBatches, run_sensitivity
    from .subjects import subject_of_run

__all__ = [
    "INTERRUPTED",
    "STOPPED",
    "ComparisonConfig",
    "ComparisonPlan",
    "ConfigError",
    "HessianOptions",
    "InspectionOptions",
    "PlannedRuns",
    "PruningOptions",
    "RunBatches",
    "RunConfig",
    "RunFolder",
    "StoppedError",
    "TrainingError",
    "Wanted",
    "bars",
    "check_file",
    "check_folder",
    "compare",
    "default_workers",
    "final_line",
    "folder_of_images",
    "inspect_run",
    "interruptible",
    "leave_at_once",
    "load_config",
    "load_data",
    "make_parser",
    "measure",
    "measure_runs",
    "plan_comparison",
    "reporting",
    "restored_model",
    "run_sensitivity",
    "similarity_of",
    "subject_of_checkpoint",
    "subject_of_run",
    "tell",
    "train",
    "writing",
]

if not TYPE_CHECKING:  # a command imports only what it needs
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "checkpoint_subject": "folder_of_images subject_of_checkpoint",
            "comparison": "compare",
            "comparison_plan": "ComparisonPlan PlannedRuns plan_comparison",
            "config": "ComparisonConfig RunConfig",
            "config_file": "load_config make_parser",
            "data": "load_data",
            "errors": "ConfigError StoppedError TrainingError writing",
            "inspection": "InspectionOptions inspect_run",
            "inspection_parts": "HessianOptions PruningOptions similarity_of",
            "inspection_workers": "Wanted default_workers measure measure_runs",
            "interrupts": "INTERRUPTED STOPPED interruptible leave_at_once",
            "loop": "train",
            "places": "check_file check_folder",
            "progress": "bars final_line reporting tell",
            "restored": "restored_model",
            "run_folder": "RunFolder",
            "sensitivity": "RunBatches run_sensitivity",
            "subjects": "subject_of_run",
        },
    )
