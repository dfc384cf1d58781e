"""The example of the docs, run by Ray with two workers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "trainers.md"


def test_workers_of_ray_learn_the_same_sizes_and_leave_a_checkpoint(tmp_path):
    pytest.importorskip("ray", reason="of the extra ray, which is not in all")
    found = re.search(r'```python title="ray_train.py"\n(.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    (tmp_path / "ray_train.py").write_text(found[1], encoding="utf-8")
    paths = os.pathsep.join([str(PAGE.parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "ray_train.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    last = done.stdout.strip().splitlines()[-1]
    height, width = map(int, re.findall(r"\d+", last)[-2:])
    assert last.startswith("True {'input': (32, 32), '1': (")
    assert height < 16
    assert width < 16
