"""Where the package keeps what it can make again: as the XDG specification has it."""

from pathlib import Path

import pytest

from dynpool.common.user_cache import user_cache


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("/somewhere", "/somewhere/dynpool"), ("", "/home/me/.cache/dynpool"), ("relative", "/home/me/.cache/dynpool")],
)
def test_an_absolute_xdg_cache_home_is_followed(chosen: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", chosen)
    assert user_cache() == Path(expected)


def test_without_one_it_is_in_the_users_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache() == Path("/home/me/.cache/dynpool")
