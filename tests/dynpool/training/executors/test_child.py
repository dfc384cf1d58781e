"""A process that trains one run ends when the comparison is gone."""

import os
import pickle
import subprocess
import sys
from multiprocessing.connection import Pipe

import pytest

from tests.dynpool.training.runs import tiny_run


@pytest.mark.skipif(sys.platform == "win32", reason="runs are trained in one process there")
def test_a_run_ends_after_an_epoch_if_the_comparison_is_gone(tmp_path):
    reader, writer = Pipe(duplex=False)
    job = pickle.dumps((tiny_run(tmp_path / "a", "--epochs=2000"), False, False))
    command = [sys.executable, "-m", "dynpool.training.executors.child", str(writer.fileno())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[writer.fileno()], env=dict(os.environ)) as process:
        writer.close()
        assert process.stdin is not None
        process.stdin.write(job)
        process.stdin.close()
        reader.recv()
        reader.close()
        assert process.wait(timeout=60) == 2
    assert not (tmp_path / "a" / "done.json").exists()
