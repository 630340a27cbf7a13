"""Work in several processes: results in the order of the items, and an end after errors."""

from __future__ import annotations

import os
import signal
import time

import pytest

from workers.base.errors import CannotRun, MalformedError
from workers.verify.parallel import spread, time_limit


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_the_answers_come_in_the_order_of_the_items(jobs):
    factor = 7  # the processes inherit it
    assert spread(lambda item: item * factor, list(range(40)), jobs) == [item * 7 for item in range(40)]


def test_it_runs_in_other_processes_and_inside_them_in_one():
    def pids(_: int) -> tuple[int, set[int]]:
        return os.getpid(), set(spread(lambda _: os.getpid(), [1, 2, 3], 3))

    for outer, inner in spread(pids, [1, 2], 2):
        assert outer != os.getpid()
        assert inner == {outer}


def test_an_error_of_one_item_is_raised():
    def fail(item: int) -> int:
        if item == 3:
            raise MalformedError("three")
        return item

    with pytest.raises(MalformedError, match="three"):
        spread(fail, [1, 2, 3, 4], 2)


def test_killed_process_is_a_one_line_error():
    def die(item: int) -> int:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(CannotRun, match="was killed"):
        spread(die, [1, 2, 3, 4], 2)
    assert spread(lambda item: item, [1, 2], 2) == [1, 2]


def test_a_block_that_takes_too_long_is_ended():
    with pytest.raises(MalformedError, match="x was not read within"), time_limit(0.05, "x"):
        time.sleep(60)
    with time_limit(0.05, "x"):
        pass
    time.sleep(0.1)  # no alarm is left behind
