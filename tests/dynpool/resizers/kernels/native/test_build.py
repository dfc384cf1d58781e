"""The C code is compiled once, where it can be, and whatever goes wrong leaves the operator without it, not without an
operator.
"""

import errno
import multiprocessing
import multiprocessing.synchronize
import os
import platform
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
    return sorted(path.suffix for path in (tmp_path / "cache" / "dynpool" / "native").iterdir())


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
    assert build.library() is not None
    (library,) = (tmp_path / "cache" / "dynpool" / "native").glob("*.so")
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
    (digest,) = (tmp_path / "cache" / "dynpool" / "native").glob("*.sha256")
    digest.write_bytes(damage)
    build._built.cache_clear()
    assert build.library() is not None
    assert len(digest.read_bytes()) == 64


def test_another_source_compiler_option_or_processor_makes_another_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "pool.c"
    source.write_text(build._SOURCE.read_text() + "/* another */\n")
    changes = [
        lambda: None,
        lambda: monkeypatch.setattr(build, "_SOURCE", source),
        lambda: monkeypatch.setattr(build, "_FLAGS", (*build._FLAGS, "-DANOTHER")),
        lambda: monkeypatch.setattr(build, "_processor", lambda: "another"),
        lambda: monkeypatch.setattr("platform.machine", lambda: "another"),
        lambda: monkeypatch.setenv("CC", counting(tmp_path)),
    ]
    for change in changes:
        change()
        build._built.cache_clear()
        assert build.library() is not None
    assert kept(tmp_path) == len(changes) * [".sha256"] + len(changes) * [".so"]


def test_a_processor_is_known_by_its_instructions() -> None:
    assert "avx2" in build._processor() or platform.machine() != "x86_64"


@pytest.mark.parametrize("name", ["cc", "gcc", "clang"])
def test_any_of_three_compilers_will_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda asked: f"/there/{asked}" if asked == name else None)
    assert build._compiler() == [f"/there/{name}"]


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_nothing_is_loaded_from_a_folder_that_others_can_write_to(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "dynpool" / "native"
    assert build.library() is not None
    (library,) = folder.glob("*.so")
    library.unlink()
    library.write_bytes(b"not a library")
    library.with_suffix(".sha256").write_text(build._digest(b"not a library"))
    folder.chmod(mode)
    build._built.cache_clear()
    assert build.library() is not None
    assert library.read_bytes() == b"not a library"


def test_the_folder_is_the_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert build.library() is not None
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "cache" / "dynpool" / "native").stat().st_mode) == 0o700


def test_a_full_disk_costs_the_copy_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert build.library() is not None
    assert kept(tmp_path) == []


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
        ("printf '\\377 no such thing' >&2; exit 1", "no such thing"),
        ('while [ "$1" != -o ]; do shift; done; echo text > "$2"', "file too short"),
    ],
)
def test_a_compiler_that_fails_is_named_with_what_it_said(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, script))
    with pytest.warns(RuntimeWarning, match="runs as plain PyTorch"):
        assert build.library() is None
    assert said in (build.problem() or "")
    assert "compiler" in (build.problem() or "")
    assert pools()


def test_a_compiler_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O0")
    with pytest.warns(RuntimeWarning, match="no-such-compiler -O0: "):
        assert (build.problem() or "").startswith("no-such-compiler -O0: ")
    assert pools()


def test_a_compiler_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(build, "_TIME_LIMIT", 0.2)
    with pytest.warns(RuntimeWarning, match="not finished"):
        assert "not finished after 0.2 seconds" in (build.problem() or "")


def test_a_command_that_cannot_be_read_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc '")
    with pytest.warns(RuntimeWarning, match="No closing quotation"):
        assert build.problem() == "$CC: No closing quotation"
    assert pools()


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
