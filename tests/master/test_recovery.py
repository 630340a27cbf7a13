"""``kill -9`` of a worker and of the master in the middle of a build: both recover without help."""

from __future__ import annotations

from pathlib import Path

import pytest
from buildbot.process.results import RETRY, SUCCESS

from tests.master.running import eventually, service

pytestmark = pytest.mark.service


def test_killed_workers_and_masters_are_recovered_from(tmp_path: Path) -> None:
    with service(tmp_path) as ci:
        ci.behave("build", "hold")
        first = ci.push("zlib", "first")
        ci.started("x86_64", "zlib")
        ci.kill("build-1")
        lost = eventually(lambda: [b for b in ci.of("x86_64", first) if b["complete"]], "the loss is noticed")
        assert lost[0]["results"] == RETRY
        ci.start_worker("build-1")
        ci.started("x86_64", "zlib", 2)

        ci.kill("master")
        second = ci.push("pigz", "pushed while the master is down")
        ci.behave("build", "hold", on=False)
        ci.start_master()
        for commit in (first, second):
            eventually(lambda c=commit: len(ci.of("promote", c)) == 2, "both targets are promoted")
        eventually(ci.idle, "nothing is left over")
        for commit in (first, second):
            whole = [build for build in ci.of("source", commit) if build["results"] == SUCCESS]
            assert len(whole) == 1, "built twice, or lost"
            for target in ("x86_64", "x86_64_v2"):
                ended = [build["results"] for build in ci.of(target, commit)]
                assert ended[-1] == SUCCESS
                assert set(ended[:-1]) <= {RETRY}
