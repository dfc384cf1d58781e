"""The command line does the whole path, and says in one line what is wrong."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import dynpool
from dynpool.cli import main
from tests.dynpool.cli.tiny import TINY

CONFIG = TINY + "lr: 0.05\nalpha_lr: 1\n"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(CONFIG + "methods: [human, dynopool]\nseeds: [0, 1]\n")
    return str(file)


@pytest.fixture
def run_config(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(CONFIG)
    return str(file)


def test_train_then_report(config, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", config, "--out", str(run), "--epochs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines[:3]] == ["epoch 0/2", "epoch 1/2", "epoch 2/2"]
    assert lines[3].startswith("tiny  accuracy ")
    assert main(["report", str(run), "--out", str(tmp_path / "report")]) == 0
    assert f"report: {tmp_path / 'report' / 'report.html'}" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").stat().st_size > 1000


def test_compare_with_one_process_and_with_two(config, tmp_path, capsys, caplog):
    def command(workers):
        seeds = "[0]" if workers == 2 else "[0, 1]"
        return ["compare", config, "--out", str(tmp_path / str(workers)), "--workers", str(workers), "--seeds", seeds]

    def figures(folder):
        with (folder / "metrics.csv").open(newline="") as file:
            return [
                [v for k, v in row.items() if k not in ("seconds", "images_per_second", "peak_memory", "checksum")]
                for row in csv.DictReader(file)
            ]

    for workers, seeds in ((1, [0, 1]), (2, [0])):
        out = tmp_path / str(workers)
        assert main(command(workers)) == 0
        said = capsys.readouterr().out
        assert f"report: {out / 'report.html'}" in said
        for name in (f"{method}-seed{seed}" for method in ("human", "dynopool") for seed in seeds):
            assert json.loads((out / name / "done.json").read_text())["name"] == name
            assert f"{name}  epoch 1/1" in said
        assert yaml.safe_load((out / "comparison.yaml").read_text())["seeds"] == seeds
        assert (out / "summary.csv").exists()
    for name in ("human-seed0", "dynopool-seed0"):
        assert figures(tmp_path / "1" / name) == figures(tmp_path / "2" / name)

    before = {p: p.stat().st_mtime_ns for p in out.glob("*/metrics.csv")}
    assert main(command(2)) == 2
    assert "already holds a comparison: continue it with --resume" in capsys.readouterr().err
    resume = [*command(2), "--workers", "1", "--resume"]
    assert main([*resume, "--lr", "0.1"]) == 2
    assert "another configuration (lr: 0.05 -> 0.1)" in capsys.readouterr().err
    (out / "report.html").unlink()
    assert main(resume) == 0
    assert (out / "report.html").exists()
    assert {p: p.stat().st_mtime_ns for p in out.glob("*/metrics.csv")} == before
    assert "leaves out" not in caplog.text
    assert main([*resume, "--methods", "[human]"]) == 0
    assert f"{out} has runs that this comparison leaves out: dynopool-seed0 (dynpool report {out} " in caplog.text


def test_a_comparison_takes_no_options_of_a_single_run(config, capsys):
    for option in ("--seed=5", "--method=random"):
        assert main(["compare", config, option]) == 2
        key = option.partition("=")[0]
        said = f"{key} is an option of dynpool train; dynpool compare has --methods, --seeds, --grid"
        assert capsys.readouterr().err == f"dynpool: error: {said}\n"


def test_failed_runs_are_named_and_the_others_finished(config, tmp_path, capsys):
    out = tmp_path / "comparison"
    (out / "human-seed0").parent.mkdir()
    (out / "human-seed0").write_text("in the way")
    assert main(["compare", config, "--out", str(out), "--workers", "2", "--seeds", "[0]"]) == 2
    err = capsys.readouterr().err
    assert "1 of the runs failed (human-seed0: cannot write" in err
    assert (out / "dynopool-seed0" / "done.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'"),
        (["train"], "needs a configuration file"),
        (["train", "none.yaml"], "none.yaml: no such configuration file"),
        (["train", "CONFIG", "--epoch", "3"], "did you mean '--epochs'"),
        (["train", "CONFIG", "--epochs", "x"], "error: --epochs is 'x'; allowed: a whole number"),
        (["train", "CONFIG", "--method", "dynapool"], "method is 'dynapool', which is not a known method; did"),
        (["train", "CONFIG", "--model.name", "vgg"], "no such model in timm or torchvision"),
        (["train", "CONFIG", "--data.name", "folder", "--data.root", "nowhere"], "no such folder"),
        (["train", "CONFIG", "--device", "cpu", "--model.options.widths", "[4]"], "nothing to learn"),
        (["train", "CONFIG", "--data.resolution", "4", "--model.options.widths", "[4,4,4,4,4]"], "input"),
        (["compare", "CONFIG", "--methods", "[humn]"], "methods has 'humn', which is not a known method; did you mean"),
        (["report", "nowhere"], "error: nowhere: no such run folder"),
        (["report", "CONFIG"], "a file, not a run folder"),
        (["train", "CONFIG", "--model.name", "nowhere:net"], "there is no module 'nowhere'"),
        (["train", "CONFIG", "--verbosity", "9"], "unknown option '--verbosity'; dynpool train --help lists all"),
        (["train", "CONFIG", "--model.options.widths=x"], "widths='x': expected a non-empty list of positive integers"),
        (["compare", "CONFIG", "--methods", "[]"], "--methods is []; allowed: distinct names, one or more"),
        (["compare", "CONFIG", "--grid", "{foo: [1]}"], "--grid is '[1]'; allowed: methods, each with keys and lists"),
        (["train", "CONFIG", "--name", ".."], "--name is '..'; allowed: a word without '/', not '.' or '..'"),
        (["coverage", "--model", "resnet18"], "unknown option '--model'; did you mean '--models'?"),
        (["coverage", "--limit", "x"], "--limit: 'x' is not a time in seconds; allowed: a number above 0"),
        (
            ["coverage", "--input-size", "-1"],
            "'-1' is not a number of pixels; allowed: a whole number above 0",
        ),
        (
            ["analyze", "vgg11", "--input-size", "64", "--layers", "c9"],
            "--layers has 'c9': the model has no such",
        ),
        (["analyze", "vgg11", "--input-size", "99999999"], "allowed: at most 4,398,046,511,104 values in one input"),
        (["coverage", "--out", "."], "cannot write .: it is a folder; name a file with --out"),
        (["report", "nowhere", "--output", "x"], "unknown option '--output'; did you mean '--out'?"),
    ],
)
def test_user_errors_are_one_line(config, tmp_path, capsys, arguments, message):
    words = [config if a == "CONFIG" else a for a in arguments]
    out = ["--out", str(tmp_path / "out")] if words[0] in ("train", "compare", "report") and len(words) > 1 else []
    assert main(words + out) == 2
    err = capsys.readouterr().err
    assert err.startswith("dynpool: error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "work"),
    [
        (["train", "CONFIG"], "dynpool.training.loop.load_data"),
        (["compare", "CONFIG"], "dynpool.training.comparison.run_configs"),
        (["report", "RUN"], "dynpool.analysis.comparison.html.compare_runs"),
        (["analyze", "vgg11", "--input-size", "32"], "dynpool.analysis.integrations.named_models.named_model"),
        (["analyze", "--run", "RUN"], "dynpool.analysis.comparison.read_runs.read_run"),
    ],
)
@pytest.mark.parametrize("place", ["FILE", "FILE/inside", "/proc/inside"])
def test_places_are_tried_before_the_work(config, tmp_path, monkeypatch, capsys, command, work, place):
    def begun(*arguments, **options):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(work, begun)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    (tmp_path / "RUN").mkdir()
    words = [config if a == "CONFIG" else a for a in command]
    assert main([*words, "--out", place]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"dynpool: error: cannot write {place}: ")
    assert err.count("\n") == 1
    assert {p.name for p in tmp_path.iterdir()} == {"FILE", "RUN", Path(config).name}


def test_a_model_that_no_run_could_build_is_told_before_the_comparison_begins(config, tmp_path, capsys):
    out = tmp_path / "comparison"
    assert main(["compare", config, "--out", str(out), "--model.name", "fractions:Fraction"]) == 2
    assert "'fractions:Fraction', which does not take num_classes: it is called as " in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(("command", "name"), [("train", "config.yaml"), ("compare", "comparison.yaml")])
@pytest.mark.parametrize("flag", [[], ["--overwrite"], ["--resume"]])
def test_files_of_the_users_own_are_not_overwritten(config, tmp_path, capsys, command, name, flag):
    own = tmp_path / "mine" / name
    own.parent.mkdir()
    own.write_text("# my own\n" + Path(config).read_text())
    before = own.read_bytes()
    assert main([command, str(own), "--out", str(own.parent), *flag]) == 2
    assert "choose another folder with --out" in capsys.readouterr().err
    assert own.read_bytes() == before
    assert [path.name for path in own.parent.iterdir() if not path.name.startswith(".")] == [name]


@pytest.mark.parametrize("name", ["i_min.jsonl", "method.txt", "environment.json", "metrics.csv"])
def test_nor_are_others_with_the_names_of_a_runs_files(config, tmp_path, capsys, name):
    (tmp_path / name).write_text('{"step": 0}\n')
    assert main(["train", config, "--out", str(tmp_path), "--overwrite"]) == 2
    assert f"{tmp_path / name} was not written by a run: choose another folder" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == '{"step": 0}\n'


def test_models_are_found_in_the_working_directory(config, tmp_path):
    (tmp_path / "at_hand.py").write_text("from dynpool.training.models import narrow_vgg as made\n")
    program = "import sys; from dynpool.cli import main; sys.path.remove(''); sys.exit(main())"
    words = ["train", config, "--out", "run", "--model.name", "at_hand:made"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_run_does_not_go_into_the_folder_of_a_comparison(config, tmp_path, capsys):
    (tmp_path / "comparison.yaml").write_text("name: tiny")
    assert main(["train", config, "--out", str(tmp_path)]) == 2
    assert "holds a comparison, not a run; choose another folder with --out" in capsys.readouterr().err


def test_help_and_version(capsys):
    assert main(["--help"]) == main([]) == 0
    assert "compare CONFIG" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dynpool {dynpool.__version__}\n"
    for command in ("train", "compare"):
        assert main([command, "--help"]) == 0
        assert "--data.variant {plain,stretch,tile,large,canvas}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [("SIGINT", 130, "interrupted"), ("SIGTERM", 75, "stopped by SIGTERM"), ("SIGHUP", 75, "stopped by SIGHUP")],
)
def test_signals_during_imports_are_one_line(run_config, tmp_path, number, code, said):
    """While torch is imported, which a program of its own waits for: by then a tenth of all modules are."""
    program = (
        "import os, signal, sys, threading\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "for number in (signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_DFL)\n"
        "def press():\n"
        "    while 'torch.nn' not in sys.modules: pass\n"
        f"    os.kill(os.getpid(), signal.{number})\n"
        "threading.Thread(target=press, daemon=True).start()\n"
        "from dynpool.cli import main\n"
        f"sys.argv[1:] = ['train', {run_config!r}, '--out', {str(tmp_path / 'run')!r}]\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"dynpool: {said}\n")
    assert not (tmp_path / "run").exists()


def test_signals_are_handled_before_anything_large_is_imported():
    """What is imported until then are a few modules of Python's own, in less than a tenth of a second."""
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "before = set(sys.modules)\n"
        "from dynpool.training import interrupts\n"
        "def begin(): print(*{name.partition('.')[0] for name in set(sys.modules) - before}); sys.exit(0)\n"
        "interrupts.leave_at_once = begin\n"
        "from dynpool.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "dynpool" in done.stdout.split()
    assert not {"argparse", "torch", "yaml", "pathlib", "tempfile"} & set(done.stdout.split())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dynpool.cli", "--help"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "dynpool: error: [Errno 28] No space left on device\n")


def interrupt(
    command: list[str], ready: Path, number: signal.Signals = signal.SIGINT
) -> "subprocess.CompletedProcess[str]":
    """Send a signal once `ready` holds the rows of an epoch after the first, and one more than it held before."""
    held = max(len(ready.read_text().splitlines()) if ready.exists() else 0, 2)
    process = subprocess.Popen(
        [sys.executable, "-m", "dynpool.cli", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 90
    while not (ready.exists() and len(ready.read_text().splitlines()) > held):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_interrupted_training_says_how_to_resume(run_config, tmp_path, capsys):
    run = tmp_path / "run"
    done = interrupt(["train", run_config, "--out", str(run), "--epochs", "2000"], run / "metrics.csv")
    assert done.returncode == 130
    expected = f"continue with: dynpool train {run / 'config.yaml'} --out {run} --resume\n"
    assert done.stderr.startswith("dynpool: interrupted; the finished epochs are saved, and step ")
    assert done.stderr.endswith(expected)
    epochs = len((run / "metrics.csv").read_text().splitlines()) - 2
    assert epochs >= 1
    again = interrupt(expected.split()[3:], run / "metrics.csv")
    assert again.returncode == 130
    assert len((run / "metrics.csv").read_text().splitlines()) - 2 >= epochs - 1


@pytest.mark.parametrize(
    ("command", "work", "saved"),
    [
        ("train", "dynpool.training.train", "nothing had been trained yet"),
        ("compare", "dynpool.training.compare", "the finished epochs of all runs are saved"),
    ],
)
def test_ctrl_c_outside_a_step_says_what_is_saved(config, tmp_path, capsys, monkeypatch, command, work, saved):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(work, interrupted)
    assert main([command, config, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err == f"dynpool: interrupted; {saved}\n"


def test_interrupted_comparison_leaves_no_process_and_resumes(config, tmp_path):
    out = tmp_path / "comparison"
    command = ["compare", config, "--out", str(out), "--epochs", "2000", "--seeds", "[0]", "--workers", "2"]
    done = interrupt(command, out / "human-seed0" / "metrics.csv")
    assert done.returncode == 130
    assert "continue with: dynpool compare" in done.stderr
    assert "Traceback" not in done.stderr
    rows = (out / "human-seed0" / "metrics.csv").read_text()
    time.sleep(0.5)
    assert (out / "human-seed0" / "metrics.csv").read_text() == rows
    assert not (out / "report.html").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_comparison_that_is_preempted_saves_its_steps(config, tmp_path, workers):
    out = tmp_path / "comparison"
    command = ["compare", config, "--out", str(out), "--epochs", "2000", "--seeds", "[0]", "--workers", str(workers)]
    run = out / "human-seed0"
    done = interrupt(command, run / "metrics.csv", signal.SIGTERM)
    assert done.returncode == 75
    assert done.stderr.startswith("dynpool: stopped by SIGTERM; the finished epochs are saved")
    assert done.stderr.endswith(f"continue with: dynpool compare {out / 'comparison.yaml'} --out {out} --resume\n")
    assert done.stderr.count("\n") == 1
    assert (run / "checkpoints" / "stopped.pt").exists()
    rows = (run / "metrics.csv").read_text()
    time.sleep(0.5)
    assert (run / "metrics.csv").read_text() == rows


def test_train_tells_a_program_in_lines_of_json(config, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", config, "--out", str(run), "--json-lines"]) == 0
    start, *epochs, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert (start["event"], start["done"]) == ("start", 0)
    assert [(epoch["event"], epoch["row"]["epoch"]) for epoch in epochs] == [("epoch", 0), ("epoch", 1)]
    assert end["figures"]["test_accuracy"] == epochs[-1]["row"]["test_accuracy"]
    assert main(["train", config, "--out", str(run), "--json-lines"]) == 2
    said = capsys.readouterr()
    error = json.loads(said.out)
    assert error["event"] == "error"
    assert said.err == f"dynpool: error: {error['message']}\n"
    assert main(["compare", config, "--out", str(run), "--json-lines"]) == 2
    assert "unknown option '--json-lines'" in capsys.readouterr().err
