"""What a command printed, read as a strict reader would."""

import json

import pytest

__all__ = ["document"]


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def document(capsys: pytest.CaptureFixture[str]) -> dict:
    """The one JSON document on stdout."""
    found = json.loads(capsys.readouterr().out, parse_constant=_refuse)
    assert isinstance(found, dict)
    return found
