"""``kitten completion``: what the scripts print in a shell, and what the shells ask kitten."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KITTEN = Path(sys.executable).parent / "kitten"
ENVIRONMENT = {**os.environ, "PATH": f"{KITTEN.parent}:{os.environ['PATH']}"}


def kitten(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KITTEN, *words], env={**ENVIRONMENT, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this host")
def test_bash_completes_commands_and_options():
    script = (
        'eval "$(kitten completion bash)" && complete -p kitten\n'
        "COMP_WORDS=(kitten re) COMP_CWORD=1; _kitten_completion kitten; echo ${COMPREPLY[@]}\n"
        "COMPREPLY=() COMP_WORDS=(kitten gate --ov) COMP_CWORD=2; _kitten_completion kitten; echo ${COMPREPLY[@]}\n"
    )
    done = subprocess.run(["bash", "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["repo-status", "--override"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_that_asks_kitten(shell):
    script = kitten("completion", shell)
    assert script.returncode == 0, script.stderr
    assert f"_KITTEN_COMPLETE={shell}_complete" in script.stdout
    words = {"zsh": "kitten comp", "fish": "kitten comp"}[shell]
    last = {"zsh": "1", "fish": "comp"}[shell]
    answer = kitten(COMP_WORDS=words, COMP_CWORD=last, _KITTEN_COMPLETE=f"{shell}_complete").stdout
    assert "compose" in answer
    assert "completion" in answer
    assert "gate" not in answer


def test_completion_offers_each_command():
    offered = kitten(COMP_WORDS="kitten ", COMP_CWORD="1", _KITTEN_COMPLETE="bash_complete").stdout.splitlines()
    listed = [
        line.split()[0] for line in kitten("--help").stdout.partition("Commands:")[2].splitlines() if line[2:3] > " "
    ]
    assert {line.partition(",")[2] for line in offered} >= set(listed)
    assert "demo" in listed


def test_an_unknown_shell_is_refused():
    done = kitten("completion", "tcsh")
    assert done.returncode == 2
    assert "bash" in done.stderr
