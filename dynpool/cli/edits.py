"""Edits named on the command line: a published one, or the file that `dynpool refine --out` wrote."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dynpool.training import ConfigError

if TYPE_CHECKING:
    from dynpool.baselines import RefinementPlan

__all__ = ["find_edits"]


def find_edits(text: str) -> "str | RefinementPlan":
    """The name of a published edit, or the plan in a file, for `baselines.refine`.

    Raises:
        ConfigError: it is neither, or the file holds no plan.
    """
    from dynpool.baselines import RefinementPlan, published_edits

    if text in published_edits():
        return text
    try:
        return RefinementPlan.from_dict(json.loads(Path(text).read_text(encoding="utf-8")))
    except FileNotFoundError:
        allowed = f"a file written by dynpool refine --out, or one of {', '.join(published_edits())}"
        raise ConfigError(f"--edits is {text!r}; allowed: {allowed}") from None
    except OSError as error:
        raise ConfigError(f"--edits is {text!r}, which cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        why = f"it is not JSON ({error})" if isinstance(error, json.JSONDecodeError) else str(error)
        raise ConfigError(f"--edits is {text!r}, a file without a plan of dynpool refine --out: {why}") from None
