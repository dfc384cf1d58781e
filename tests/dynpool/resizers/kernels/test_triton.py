"""The Triton kernels under the interpreter, and the library without them.

``triton_cases.py`` holds the cases; on a machine with a GPU it is run there as well.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

CASES = Path(__file__).parent / "triton_cases.py"
NO_TESTS = 5  # pytest's exit code where all of a file is skipped


def run_cases(**environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rs", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode == NO_TESTS:
        pytest.skip(done.stdout[-600:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


@pytest.mark.timeout(900)
def test_cases_under_the_interpreter() -> None:
    run_cases(TRITON_INTERPRET="1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.timeout(900)
def test_cases_on_a_gpu() -> None:
    run_cases(TRITON_INTERPRET="0")


def test_the_library_works_where_triton_is_not_installed() -> None:
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, dynpool\n"
        "x, alpha = torch.randn(1, 2, 8, 8, requires_grad=True), torch.tensor([2.0, 2.0], requires_grad=True)\n"
        "dynpool.dynopool2d(x, alpha).sum().backward()\n"
        "assert alpha.grad is not None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_library_does_not_import_the_kernels() -> None:
    code = "import sys, dynpool; assert 'dynpool.resizers.kernels.triton.launch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
