"""No program outlives the command that started it, even if the command is killed while it starts the program."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from workers.base.run import run


@pytest.mark.parametrize(
    ("parent", "status", "output"),
    [("os.getppid()", 0, "lives\n"), ("1 if os.getppid() != 1 else 2", -signal.SIGKILL, "")],
    ids=["the parent is there", "the parent was gone before the kernel could be asked"],
)
def test_a_process_whose_parent_has_ended_already_ends(parent: str, status: int, output: str) -> None:
    script = f"import os\nfrom workers.base.run import die_with_parent\ndie_with_parent({parent})\nprint('lives')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, output)


@pytest.mark.parametrize("given", [None, {"PATH": "/usr/bin:/bin"}, {}])
def test_system_tools_are_found_if_an_ordinary_users_path_lacks_them(
    given: dict[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert run(["chroot", "--version"], env=given).status == 0
    assert run(["sh", "-c", "chroot --version"], env=given).status == 0
    path = run(["sh", "-c", "echo $PATH"], env={"PATH": "/usr/sbin:/usr/bin"}).output.strip()
    assert path == "/usr/sbin:/usr/bin:/sbin"
