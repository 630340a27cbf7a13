"""Publications and rollbacks at the same time, in several processes: each waits for the others."""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion.user_view import versions
from tests.workers.publishing import BuildFactory
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.repository.state import published

pytestmark = pytest.mark.slow


def test_two_at_once_wait_for_each_other(site: Site, state: Path, make_build: BuildFactory) -> None:
    context = get_context("fork")
    targets = ("aarch64", "x86_64", "x86_64_v2", "s390x")
    jobs = [(site, state, target, str(make_build(target))) for target in targets]
    workers = [context.Process(target=publish, args=job) for job in jobs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * len(jobs)
    assert versions(state, site) == dict.fromkeys(targets, "tiny-1-1.el10")
    assert len({record.snapshot for record in published(site, state).values()}) == len(jobs)


def test_the_same_build_twice_at_once_is_published_once(site: Site, state: Path, make_build: BuildFactory) -> None:
    context, build = get_context("fork"), str(make_build())
    workers = [context.Process(target=publish, args=(site, state, "aarch64", build)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert published(site, state)["tiny", "aarch64"].snapshot == 1
    assert str((state / "published/.snapshots/current").readlink()) == "0001"


def test_a_rollback_and_publications_at_once_wait_for_each_other(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    publish(site, state, "aarch64", str(make_build(version="2")))
    context = get_context("fork")
    jobs = [
        context.Process(target=publish, args=(site, state, "x86_64", str(make_build("x86_64")))),
        context.Process(target=rollback, args=(site, state, 1)),
        context.Process(target=publish, args=(site, state, "s390x", str(make_build("s390x")))),
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    assert str((state / "published/.snapshots/current").readlink()) == "0005"
    # What was published before the rollback went with it: it brings back all of an earlier snapshot.
    assert versions(state, site)["aarch64"] == "tiny-1-1.el10"
