"""Waits for an inconsistent mirror are bounded; commands that are killed or run at the same time do no harm."""

from __future__ import annotations

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.workers.debian import ARCHITECTURE, Debian
from tests.workers.mirror import Fault, no_faults
from tests.workers.sandbox.apt.test_inconsistent import fetched, on
from workers.base.errors import CannotRun
from workers.base.run import start_program
from workers.sandbox import apt

pytestmark = pytest.mark.slow

RUNNER = f"from workers.sandbox import apt; apt.private_root('trixie', '{ARCHITECTURE}')"


def test_after_a_wait_the_files_that_the_pool_has_now_are_used(
    debian: Debian, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    monkeypatch.setenv("KITTEN_MIRROR_WAIT", "1")
    refused: list[str] = []

    def once(path: str) -> Fault | None:
        if path.startswith("pool") and not refused:
            refused.append(path)
            return 404
        return None

    debian.mirror.faults = once
    assert fetched("tool") == ["tool_1"]
    words = capsys.readouterr().out
    assert f"apt: {debian.mirror.url} is inconsistent for trixie, s390x: " in words
    assert "next attempt in 1 s" in words


def test_all_waits_of_a_command_are_bounded_together(debian: Debian, monkeypatch: pytest.MonkeyPatch, capsys):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    monkeypatch.setenv("KITTEN_MIRROR_WAIT", "1")
    debian.mirror.faults = on("pool", 404)
    with pytest.raises(CannotRun, match="waited 1 s"):
        fetched("tool")
    assert capsys.readouterr().out.count("next attempt") == 1
    with pytest.raises(CannotRun):
        fetched("tool")
    assert "next attempt" not in capsys.readouterr().out


def test_pauses_grow_up_to_the_bound(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KITTEN_MIRROR_WAIT", raising=False)
    pauses = [apt.wait_budget.pause(number) for number in range(5)]
    assert pauses == sorted(set(pauses))
    monkeypatch.setenv("KITTEN_MIRROR_WAIT", "20")
    assert apt.wait_budget.pause(3) == 20
    monkeypatch.setenv("KITTEN_MIRROR_WAIT", "0")
    assert apt.wait_budget.pause(0) == 0


def test_a_bound_that_is_no_number_is_an_error(debian: Debian, monkeypatch: pytest.MonkeyPatch):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    debian.mirror.faults = on("pool", 404)
    monkeypatch.setenv("KITTEN_MIRROR_WAIT", "long")
    with pytest.raises(CannotRun, match="KITTEN_MIRROR_WAIT is 'long', not a whole number"):
        fetched("tool")


def test_a_command_killed_during_an_update_leaves_nothing(debian: Debian, monkeypatch: pytest.MonkeyPatch):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    monkeypatch.setenv("KITTEN_MIRROR_TIMEOUT", "60")
    asked = threading.Event()

    def stalled(path: str) -> Fault | None:
        if "by-hash" not in path:
            return None
        asked.set()
        return "stalled"

    debian.mirror.faults = stalled
    with start_program([sys.executable, "-c", RUNNER], cwd=Path(__file__).parents[4]) as runner:
        assert asked.wait(60)
        runner.send_signal(signal.SIGKILL)
        runner.wait()
    assert list(debian.cache.glob("apt/*/*/new-*"))
    debian.mirror.faults = no_faults
    assert fetched("tool") == ["tool_1"]
    assert not list(debian.cache.glob("apt/*/*/new-*"))


def test_commands_at_the_same_time_download_the_lists_once(debian: Debian):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    with ThreadPoolExecutor(4) as runners:
        found = list(runners.map(lambda _: fetched("tool"), range(4)))
    assert found == [["tool_1"]] * 4
    assert len([path for path in debian.mirror.asked if "by-hash" in path]) == 1


def test_lists_in_use_stay_while_another_command_downloads_newer_ones(debian: Debian):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "0")])
    before = apt.private_root("trixie", ARCHITECTURE)
    for version in range(1, 7):
        debian.archive.release("trixie", packages=[debian.archive.package("tool", str(version))])
        debian.age(days=1 / 8)
        for file in debian.cache.glob("apt/*/*/name-*"):
            file.unlink()
        assert apt.private_root("trixie", ARCHITECTURE).show("tool")["Version"] == str(version)
    assert before.show("tool")["Version"] == "0"


def test_old_lists_that_no_command_uses_are_removed(debian: Debian):
    for version in range(6):
        debian.archive.release("trixie", packages=[debian.archive.package("tool", str(version))])
        apt.private_root("trixie", ARCHITECTURE)
        debian.age(days=2)
    assert len(list(debian.cache.glob("apt/*/*/lists-*"))) == 4
