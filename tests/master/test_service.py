"""A real master and real worker processes: from a push to every target and to promote, and through kills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from buildbot.process.results import CANCELLED, FAILURE, RETRY, SUCCESS

from tests.master.running import Service, eventually, service

pytestmark = pytest.mark.service


@pytest.fixture
def ci(tmp_path: Path) -> Iterator[Service]:
    with service(tmp_path) as running:
        yield running


def test_the_first_push_to_an_empty_repository_goes_all_the_way(ci: Service) -> None:
    commit = ci.push("zlib", "first")
    source = ci.finished("source", 1)[0]
    assert source["results"] == SUCCESS, source
    for target in ("x86_64", "x86_64_v2"):
        build = ci.finished(target, 1)[0]
        assert build["results"] == SUCCESS, build
        assert build["properties"]["package"] == "zlib"
        assert build["properties"]["commit"] == commit
        assert build["properties"]["target"] == target
        assert build["properties"]["source_buildid"] == source["buildid"]
    promoted = ci.finished("promote", 2)
    assert {build["properties"]["target"] for build in promoted} == {"x86_64", "x86_64_v2"}
    assert {build["properties"]["commit"] for build in promoted} == {commit}
