"""The script of `dynpool completion bash` completes commands, options, choices and files in bash."""

import json
import shutil
import subprocess

import pytest

from dynpool.cli import main
from tests.dynpool.common.test_extras import run_without_extras


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    from dynpool.cli.completion import _all_commands

    shtab = pytest.importorskip("shtab")
    path = tmp_path_factory.mktemp("completion") / "dynpool.bash"
    path.write_text(shtab.complete(_all_commands(shtab), "bash"))
    return path


def completed(script, line, folder):
    """What bash offers behind a line."""
    words = [*line.split(), *([""] if line.endswith(" ") else [])]
    listed = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; "
        f"COMP_POINT={len(line)}; $(complete -p dynpool | sed 's/.*-F \\([^ ]*\\) .*/\\1/') dynpool; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("dynpool an", {"analyze"}),
        ("dynpool analyze --ef", {"--effective"}),
        ("dynpool train --data.v", {"--data.validation", "--data.variant"}),
        ("dynpool refine --js", {"--json"}),
        ("dynpool sensitivity --split t", {"train", "test"}),
        ("dynpool completion ", {"bash", "zsh", "tcsh"}),
        ("dynpool report --out ", {"folder"}),
        ("dynpool train ", {"folder", "mine.yaml"}),
    ],
)
def test_bash_offers_what_fits(script, line, offered, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.yaml").touch()
    found = completed(script, line, tmp_path)
    assert offered <= set(found)
    if not line.endswith(" "):
        assert set(found) == offered


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_have_a_script(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shell"] == shell
    assert "sensitivity" in found["script"]


def test_an_unknown_shell_and_a_missing_package_are_told(capsys):
    assert main(["completion", "fish"]) == 2
    assert "SHELL: invalid choice: 'fish' (choose from" in capsys.readouterr().err
    done = run_without_extras("from dynpool.cli import main; sys.exit(main(['completion', 'bash']))")
    assert done.returncode == 2
    said = "the package 'shtab' is not installed: pip install 'dynpool[completion]'"
    assert done.stderr == f"dynpool: error: {said}\n"
