"""Runs as tasks of Ray: on two nodes, one of which is lost in the middle, they give what one process gives."""

import os
import signal
import threading
import time

import pytest

from dynpool.training.comparison import compare
from dynpool.training.config import ComparisonConfig, RunConfig
from dynpool.training.config_file import load_config, read_yaml
from dynpool.training.files import locked
from dynpool.training.loop import train
from tests.dynpool.training.runs import TINY_OPTIONS, assert_same_run, tiny_run

pytest.importorskip("ray", reason="of the extra ray, which is not in all")
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # other tests run beside these

import ray
from ray.cluster_utils import Cluster

from dynpool.training.errors import ConfigError, TrainingError
from dynpool.training.executors.ray_tasks import RayTasks, _reason

MEMORY = 80 * 2**20  # of a node's object store, in bytes
EPOCHS = "--epochs=12"


@pytest.fixture(scope="module")
def cluster():
    """A head that trains nothing. Ray's handler of SIGTERM, which exits, is not left to later tests."""
    handler = signal.getsignal(signal.SIGTERM)
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False, "_system_config": quick}
    found = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()
    signal.signal(signal.SIGTERM, handler)


def comparison(out, *options):
    given = ["--methods=[dynopool]", "--seeds=[0,1]", "--executor=ray", "--out", str(out), *options]
    return load_config(ComparisonConfig, None, [*TINY_OPTIONS, *given], command="compare")[0]


def add_nodes(cluster):
    """Nodes with room for one run each, until there are two."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=1, object_store_memory=MEMORY)


def rows(run):
    path = run / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def copies(folder):
    """The number of times that a run was copied to the storage."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("manifest-*.json")), default=0)


@pytest.mark.parametrize("storage", ["a shared folder", "a URL"])
def test_a_lost_node_costs_nothing_that_was_saved(cluster, tmp_path, storage):
    add_nodes(cluster)
    url = storage == "a URL"
    config = comparison(tmp_path / "ray", EPOCHS, *[f"--storage=file://{tmp_path}/storage"] * url)
    runs = [tmp_path / "ray" / f"dynopool-seed{seed}" for seed in (0, 1)]
    seen: list[int] = []

    def lose() -> None:
        deadline = time.monotonic() + 200
        held = [tmp_path / "storage" / run.name for run in runs] if url else runs
        done = copies if url else rows
        while min(map(done, held)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        seen.extend(map(done, held))

    thread = threading.Thread(target=lose)
    thread.start()
    compare(config, quiet=True)
    thread.join()
    assert 3 <= min(seen) < 13
    for seed, run in enumerate(runs):
        alone = tmp_path / f"alone{seed}"
        train(tiny_run(alone, EPOCHS, f"--seed={seed}"))
        assert_same_run(alone, run)


def test_failed_runs_are_named_and_the_others_finished(cluster, tmp_path, capsys):
    add_nodes(cluster)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dynopool-seed1").write_text("in the way")
    with pytest.raises(TrainingError, match=r"1 of the runs failed \(dynopool-seed1: cannot write"):
        compare(comparison(tmp_path / "out", "--epochs=1"))
    said = capsys.readouterr().out
    assert "dynopool-seed0  epoch 1/1" in said
    assert (tmp_path / "out" / "dynopool-seed0" / "done.json").exists()


def test_runs_that_are_stopped_save_their_steps(cluster, tmp_path):
    add_nodes(cluster)
    executor = RayTasks(comparison(tmp_path), 1, resume=False, overwrite=False)
    run = tiny_run(tmp_path / "a", "--epochs=2000")
    executor.start(run)
    while not rows(run.folder) > 2:
        executor.wait(lambda event: None)
    executor.close()
    before = rows(run.folder)
    assert not (run.folder / "done.json").exists()
    with locked(run.folder):  # it has been left
        pass
    time.sleep(0.5)
    assert rows(run.folder) == before


def test_resources_and_retries_are_those_of_the_configuration(cluster, tmp_path):
    node = cluster.add_node(num_cpus=3, num_gpus=1, object_store_memory=MEMORY)
    options = ("--gpus_per_run=0.5", "--retries=2", "--threads=3", "--epochs=1")
    executor = RayTasks(comparison(tmp_path, *options), 1, resume=False, overwrite=False)
    try:
        asked = executor._task._default_options
        assert {key: asked[key] for key in ("num_gpus", "num_cpus", "max_retries")} == {
            "num_gpus": 0.5, "num_cpus": 3, "max_retries": 2,
        }  # fmt: skip
    finally:
        executor.close()
        cluster.remove_node(node)


def test_no_cluster_at_an_address_is_an_error_of_the_users(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    begin = time.monotonic()
    with pytest.raises(ConfigError, match=r"address is '127.0.0.1:1': no Ray cluster there \(.*refused"):
        RayTasks(ComparisonConfig(executor="ray", address="127.0.0.1:1"), 1, resume=False, overwrite=False)
    assert time.monotonic() - begin < 60, "Ray itself waits for minutes"
    monkeypatch.setattr(ray, "init", lambda **options: (_ for _ in ()).throw(ConnectionError("nobody\nthere")))
    with pytest.raises(ConfigError, match=r"address is 'auto': no Ray cluster there \(nobody\)"):
        RayTasks(ComparisonConfig(executor="ray", address="auto"), 1, resume=False, overwrite=False)


def test_a_storage_that_holds_a_run_is_refused_before_any_run_begins(cluster, tmp_path):
    add_nodes(cluster)
    config = comparison(tmp_path / "first", "--epochs=1", "--seeds=[0]", f"--storage=file://{tmp_path}/storage")
    compare(config, quiet=True)
    run = tmp_path / "first" / "dynopool-seed0"
    assert read_yaml(run / "config.yaml")["out"] == str(run)
    assert train(load_config(RunConfig, run / "config.yaml", [])[0], resume=True)["epochs"] == 1
    again = comparison(tmp_path / "second", "--epochs=1", "--seeds=[0]", f"--storage=file://{tmp_path}/storage")
    with pytest.raises(ConfigError, match=rf"file://{tmp_path}/storage/dynopool-seed0 already holds a run"):
        compare(again, quiet=True)
    assert not (tmp_path / "second" / "comparison.yaml").exists()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ray::train_task() (pid=3)\n  File x\nValueError: no", "ValueError: no"),
        ("Task failed because the node is dead.\nmore", "Task failed because the node is dead."),
        ("", "RuntimeError"),
    ],
)
def test_the_reason_of_a_lost_task_is_one_line(text, line):
    assert _reason(RuntimeError(text)) == line
