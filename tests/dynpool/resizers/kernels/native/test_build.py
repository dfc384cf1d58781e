"""The C code is compiled once, where it can be, and whatever goes wrong leaves the operator without it, not without an
operator.
"""

import multiprocessing
import multiprocessing.synchronize
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dynpool
from dynpool.resizers.kernels.native import build

pytestmark = pytest.mark.skipif("no C compiler" in (build.problem() or ""), reason="no C compiler")


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No library is known, and the cache folder is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build._built.cache_clear()
    yield
    build._built.cache_clear()


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.suffix for path in (tmp_path / "cache" / "dynpool").iterdir())


def compiler(tmp_path: Path, script: str) -> str:
    """The path of a compiler that runs this shell script."""
    path = tmp_path / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def counting(tmp_path: Path) -> str:
    """A compiler that writes a line for every library that it makes."""
    return compiler(tmp_path, f'cc "$@" && echo made >> {tmp_path / "made"}')


def pools() -> bool:
    """Whether the operator gives a map of the right size."""
    return dynpool.dynopool2d(torch.zeros(1, 2, 8, 8), 2.0).shape == (1, 2, 4, 4)


def test_it_is_compiled_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", counting(tmp_path))
    for _ in range(3):
        build._built.cache_clear()
        assert build.library() is not None
        assert build.problem() is None
    assert (tmp_path / "made").read_text() == "made\n"
    assert kept(tmp_path) == [".sha256", ".so"]


def test_a_damaged_library_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", counting(tmp_path))
    folder = tmp_path / "cache" / "dynpool"
    folder.mkdir(parents=True)
    assert build.library() is not None
    (library,) = folder.glob("*.so")
    # another file: what is loaded must not change
    content = library.read_bytes()
    library.unlink()
    library.write_bytes(content[: len(content) // 2])
    build._built.cache_clear()
    assert build.library() is not None
    assert library.stat().st_size == len(content)
    assert (tmp_path / "made").read_text() == 2 * "made\n"


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe"])
def test_a_library_without_its_digest_is_made_anew(damage: bytes, tmp_path: Path) -> None:
    assert build.library() is not None
    (digest,) = (tmp_path / "cache" / "dynpool").glob("*.sha256")
    digest.write_bytes(damage)
    build._built.cache_clear()
    assert build.library() is not None
    assert len(digest.read_bytes()) == 64


def test_another_compiler_or_processor_makes_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.library() is not None
    monkeypatch.setattr(build, "_processor", lambda: "another")
    build._built.cache_clear()
    assert build.library() is not None
    monkeypatch.setenv("CC", counting(tmp_path))
    build._built.cache_clear()
    assert build.library() is not None
    assert kept(tmp_path) == 3 * [".sha256"] + 3 * [".so"]


@pytest.mark.parametrize("cache", ["file", "device"])
def test_without_a_folder_to_write_to_it_is_compiled_for_the_process(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file") if cache == "file" else "/dev/null")
    assert build.library() is not None
    assert pools()


def test_without_a_home_it_is_compiled_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(build, "user_cache", no_home)
    assert build.library() is not None


def test_without_a_compiler_the_operator_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert build.library() is None
    assert build.problem() == "no C compiler was found: neither $CC nor cc, gcc or clang"
    assert pools()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo pool.c:1: no such thing >&2; exit 1", "no such thing"),
        ("exit 0", "No such file"),
        ('while [ "$1" != -o ]; do shift; done; echo text > "$2"', "file too short"),
    ],
)
def test_a_compiler_that_fails_is_named_with_what_it_said(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    assert build.library() is None
    assert said in (build.problem() or "")
    assert "compiler" in (build.problem() or "")
    assert pools()


def test_a_compiler_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O0")
    assert (build.problem() or "").startswith("no-such-compiler -O0: ")
    assert pools()


def test_a_compiler_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(build, "_TIME_LIMIT", 0.2)
    assert "not finished after 0.2 seconds" in (build.problem() or "")


def test_a_compiler_that_does_not_know_the_processor_makes_code_for_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'case "$*" in *=native*) exit 1;; esac; cc "$@" && echo made >> {tmp_path / "made"}'
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    assert build.library() is not None
    assert (tmp_path / "made").read_text() == "made\n"


def test_windows_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert build.problem() == "there is no support for Windows"
    assert pools()


def _in_a_process(ready: multiprocessing.synchronize.Barrier) -> None:
    ready.wait(60)
    os._exit(0 if build.library() is not None and pools() else 1)


def test_processes_that_begin_together_all_have_it(tmp_path: Path) -> None:
    spawned = multiprocessing.get_context("fork")
    ready = spawned.Barrier(4)
    processes = [spawned.Process(target=_in_a_process, args=(ready,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert kept(tmp_path) == [".sha256", ".so"]
