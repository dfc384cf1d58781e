"""dynpool refine: edits of a model that bring I_min below the input size, printed and written as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

from dynpool.training import ConfigError, check_file, interruptible, writing

from .arguments import Parser, input_size, place
from .edits import find_edits
from .output import Output

__all__ = ["parser", "refine"]


def parser() -> Parser:
    """The parser of the command's options."""
    found = Parser(
        "refine",
        "Static refinement (Richter and Pal): the fewest edits with I_min < I_res. Nothing is downloaded.",
    )
    found.add_argument(
        "model",
        metavar="MODEL",
        help="a model of timm or torchvision (torchvision:NAME if both have it), or package.module:callable",
    )
    found.add_argument(
        "--input-size", metavar="SIZE", type=input_size, required=True,
        help="32 | 32,64 (height, width) | 3,32,64 (channels, height, width) | 3,16,112,112 or CHANNELS:SIZES",
    )  # fmt: skip
    kind = found.add_mutually_exclusive_group()
    kind.add_argument(
        "--way",
        choices=("less downsampling", "shorter and wider"),
        help="edit strides (the default), or the number and width of blocks",
    )
    kind.add_argument(
        "--edits", metavar="NAME|FILE",
        help="apply a published edit, such as vgg19 (an unknown name prints the list), or the edits that --out wrote",
    )  # fmt: skip
    found.add_argument("--out", type=place, metavar="FILE", help="write the plan to this file, as JSON")
    return found


def _check_plan(path: Path) -> None:
    """Raise ConfigError for an existing file that no plan was written to: it would be overwritten."""
    try:
        find_edits(str(path.absolute()))
    except ConfigError:
        raise ConfigError(f"--out is {path}, a file that is not a plan of dynpool refine: name another file") from None


def refine(arguments: Sequence[str], output: Output) -> int:
    """Run the command and return its exit code, which is 1 if I_min < I_res is not reached.

    Raises:
        ConfigError: for errors that the user can correct.
    """
    options = parser().read(arguments)
    if options.out is not None:
        check_file(options.out, parents=True)
        if options.out.exists():
            _check_plan(options.out)
    from dynpool import baselines
    from dynpool.analysis.integrations import named_model

    try:
        with interruptible():
            edits = None if options.edits is None else find_edits(options.edits)
            _, model = named_model(options.model, options.input_size, weights=False)
            _, plan = baselines.refine(model, options.input_size, way=options.way, edits=edits)
    except (ValueError, TypeError, ModuleNotFoundError) as error:
        raise ConfigError(str(error)) from error
    output.text(plan)
    if options.out is not None:
        with writing(options.out, when_full="free some space"):
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(plan.to_dict(), indent=2) + "\n")
        output.notice(f"written to {options.out}")
    output.document(plan.to_dict)
    return 0 if plan.reached else 1
