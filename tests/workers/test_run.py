"""Nothing that a command starts outlives it, not even what was being started when it was killed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("parent", "status", "said"),
    [("os.getppid()", 0, "lives\n"), ("1 if os.getppid() != 1 else 2", -signal.SIGKILL, "")],
    ids=["the parent is there", "the parent was gone before the kernel could be asked"],
)
def test_who_has_lost_its_parent_already_ends(parent: str, status: int, said: str) -> None:
    script = f"import os\nfrom workers.run import die_with_parent\ndie_with_parent({parent})\nprint('lives')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, said)
