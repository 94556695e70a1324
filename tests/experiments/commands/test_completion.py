"""Shell completion, read out of the commands' own help, in a real shell."""

import io
import re
import shutil
import subprocess
from contextlib import redirect_stdout

import pytest

from copygym.experiments.commands import main as cli
from copygym.experiments.commands.setup.completion import words


@pytest.fixture(scope="module")
def script():
    out = io.StringIO()
    with redirect_stdout(out):
        assert cli.main(["completion", "bash"]) == 0
    return out.getvalue()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("copygym do", ["doctor"]),
        ("copygym run agent=linu", ["linucb"]),
        ("copygym run experiment=quick", ["quickstart"]),
        ("copygym abtest --alw", ["--always-valid"]),
        ("copygym data pre", ["prepare"]),
        ("copygym score --nothing", []),
    ],
)
def test_bash(script, tmp_path, line, expected):
    file = tmp_path / "copygym.bash"
    file.write_text(script)
    ask = (
        f"source {file}; COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=($COMP_LINE); "
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _copygym 2>/dev/null; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected


def test_every_command_and_its_options_are_there(script):
    found = words()
    assert set(found) == set(cli.COMMANDS)
    assert all("--help" in some for name, some in found.items() if name != "run")
    assert "experiment=quickstart" in found["run"]
    for name in found:
        assert f"      {name}) words=" in script


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_name_the_same_commands(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    made = capsys.readouterr().out
    assert all(re.search(rf"\b{name}\b", made) for name in cli.COMMANDS)
    program = shutil.which(shell)
    if program:
        subprocess.run([program, "-n"], input=made, text=True, check=True)


def test_another_shell_is_one_sentence(capsys):
    assert cli.main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
