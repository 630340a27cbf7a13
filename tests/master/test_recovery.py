"""``kill -9`` of a worker and of the master during a build: both recover without help."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.process.build import Build
from buildbot.process.results import RETRY, SUCCESS

from master.builds import RetriedBuild
from tests.master.running import eventually, service

pytestmark = pytest.mark.service


def test_a_worker_lost_before_the_first_step_gives_the_build_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def raises(self: Build, workerforbuilder: Any) -> None:
        raise AttributeError("'NoneType' object has no attribute 'workername'")

    ended: list[int] = []

    async def finished(text: list[str], results: int) -> None:
        ended.append(results)

    monkeypatch.setattr(Build, "startBuild", raises)
    monkeypatch.setattr(Build, "__init__", lambda *_: None)
    build = RetriedBuild([], None)
    build.finished, build._preparation_step = False, None
    build.buildid = 1
    build.buildFinished = finished
    build.startBuild(SimpleNamespace(worker=None))
    assert ended == [RETRY]
    failure = []
    build.startBuild(SimpleNamespace(worker=object())).addErrback(failure.append)
    assert failure, "any other error is Buildbot's to show"
    assert len(ended) == 1


def test_killed_workers_and_masters_lose_no_build_and_repeat_none(tmp_path: Path) -> None:
    with service(tmp_path) as ci:
        ci.behave("build", "hold")
        first = ci.push("zlib", "first")
        build = ci.wait_for_running("x86_64", "zlib")
        eventually(lambda: ci.command_runs(build), "it builds")
        ci.kill("build-1")
        lost = eventually(lambda: [b for b in ci.builds_of("x86_64", first) if b["complete"]], "the loss is noticed")
        assert lost[0]["results"] == RETRY
        ci.start_worker("build-1")
        ci.wait_for_running("x86_64", "zlib", 2)

        ci.kill("master")
        second = ci.push("pigz", "pushed while the master is down")
        ci.behave("build", "hold", on=False)
        ci.start_master()
        for commit in (first, second):
            eventually(lambda c=commit: len(ci.builds_of("promote", c)) == 2, "both targets are promoted")
        eventually(ci.idle, "nothing is left over")
        for commit in (first, second):
            whole = [build for build in ci.builds_of("source", commit) if build["results"] == SUCCESS]
            assert len(whole) == 1, "built twice, or lost"
            for target in ("x86_64", "x86_64_v2"):
                ended = [build["results"] for build in ci.builds_of(target, commit)]
                assert ended[-1] == SUCCESS
                assert set(ended[:-1]) <= {RETRY}
