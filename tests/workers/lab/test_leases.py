"""Guests are counted: never more than the host has, first come first served, and a killed holder's lease ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.workers.lab.helpers import wait_for
from workers.base.errors import CannotRun
from workers.lab.machine import leases


@pytest.fixture(autouse=True)
def small_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    monkeypatch.setenv("KITTEN_LAB_MEMORY", "4096")
    monkeypatch.setenv("KITTEN_LAB_CORES", "2")


class Asker(threading.Thread):
    """Asks for a lease and keeps it until told."""

    def __init__(self, memory: int, name: str) -> None:
        super().__init__(daemon=True)
        self.memory, self.what = memory, name
        self.has, self.release = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with leases.held(self.memory, 1, self.what):
            self.has.set()
            self.release.wait(30)

    def end(self) -> None:
        self.release.set()
        self.join(30)


def state() -> list[tuple[str, bool]]:
    return [(lease.what, lease.held) for lease in leases.current()]


def test_a_holder_that_ends_while_others_look_is_no_error(tmp_path):
    folder = leases._folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0-1").symlink_to(tmp_path / "gone")  # listed, and not there any more when it is opened
    assert leases.current() == ()


def test_a_third_guest_waits_for_a_core():
    first, second = Asker(512, "first"), Asker(512, "second")
    assert first.has.wait(30)
    assert second.has.wait(30)
    third = Asker(512, "third")
    assert wait_for(lambda: ("third", False) in state())
    assert not third.has.is_set()
    first.end()
    assert third.has.wait(30)
    second.end()
    third.end()
    assert state() == []


def test_a_large_guest_in_front_is_not_overtaken_by_a_small_one():
    first = Asker(2048, "first")
    assert first.has.wait(30)
    large = Asker(3000, "large")
    assert wait_for(lambda: ("large", False) in state())
    small = Asker(256, "small")
    assert wait_for(lambda: ("small", False) in state())
    assert not small.has.wait(0.3)
    first.end()
    assert large.has.wait(30)
    large.end()
    assert small.has.wait(30)
    small.end()


def test_what_can_never_fit_is_refused_at_once():
    with (
        pytest.raises(
            CannotRun, match=r"a guest of 8256 MiB does not fit: guests have 4096 MiB on this host(.|\n)*LAB_MEMORY"
        ),
        leases.held(8000, 1, "too large"),
    ):
        pytest.fail("it had room")


@pytest.mark.parametrize("value", ["much", "0", "-3"])
def test_a_setting_that_is_no_number_is_told(value, monkeypatch):
    monkeypatch.setenv("KITTEN_LAB_CORES", value)
    with pytest.raises(CannotRun, match="KITTEN_LAB_CORES is"):
        leases.capacity()


def test_the_lease_of_a_killed_holder_ends_with_it():
    script = (
        "from workers.lab.machine import leases\nimport time\n"
        "with leases.held(3000, 2, 'doomed'):\n    print('has it', flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "has it\n"
        waiting = Asker(3000, "heir")
        assert wait_for(lambda: state() == [("doomed", True), ("heir", False)])
        os.kill(holder.pid, signal.SIGKILL)
    assert waiting.has.wait(30)
    assert state() == [("heir", True)]
    waiting.end()


def test_many_at_once_never_have_more_than_there_is():
    most, now, lock = [0], [0], threading.Lock()

    def one() -> None:
        with leases.held(512, 1, "one of many"):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.01)
            with lock:
                now[0] -= 1

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most[0] == 2
    assert state() == []
