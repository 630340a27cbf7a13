"""Programs that are run to their end: status, output, time limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.base.errors import CannotRun
from workers.base.run import CommandFailed, run


def test_a_program_s_status_and_output_are_returned(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run(["sh", "-c", "echo out; echo err >&2"], log=log)
    assert (done.status, done.output) == (0, "out\nerr\n")
    assert log.read_text() == "out\nerr\n"


def test_a_program_that_fails_raises_with_its_command_line_and_last_lines() -> None:
    with pytest.raises(CommandFailed, match=r"(?s)sh exited with 3: sh -c 'seq 99; exit 3'\n85\n.*99$") as caught:
        run(["sh", "-c", "seq 99; exit 3"])
    assert (caught.value.timed_out, caught.value.done.status) == (False, 3)


def test_a_failure_is_returned_where_the_caller_looks_at_the_status() -> None:
    assert run(["sh", "-c", "exit 3"], check=False).status == 3


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=r"sh did not end within 1 s") as caught:
        run(["sh", "-c", f"sleep 600 & echo $! > {tmp_path}/child; wait"], timeout=1)
    assert caught.value.timed_out
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_program_that_does_not_exist_is_reported_in_one_line() -> None:
    with pytest.raises(CannotRun, match="no-such-program") as caught:
        run(["no-such-program"])
    assert "\n" not in caught.value.what


def test_standard_input_is_empty_and_the_environment_is_the_caller_s() -> None:
    done = run(["sh", "-c", 'cat; echo "$X"'], env={**os.environ, "X": "y"})
    assert done.output == "y\n"
