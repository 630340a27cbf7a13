"""An index stays for a while before the next one of its repository is shown; other repositories do not wait for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.mirrors import s3
from tests.workers.mirrors.pushes import Make, go, make, port, proxy
from tests.workers.publishing import BuildFactory
from workers.mirrors import remote
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.repository import draft

pytestmark = pytest.mark.slow

__all__ = ["make", "port", "proxy"]


@dataclass
class Clock:
    """Time that passes only while somebody sleeps."""

    now: float = 2_000_000_000.0
    slept: list[float] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(at_once: None, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (draft, remote):
        monkeypatch.setattr(module, "STEADY", 2.0)
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_publication_waits_for_its_own_repositories_alone(
    site: Site, state: Path, make_build: BuildFactory, clock: Clock
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    publish(site, state, "x86_64", str(make_build("x86_64")))
    assert clock.slept == [0.0, 0.0], "its source package is there already"
    clock.now += 0.5
    publish(site, state, "aarch64", str(make_build(version="2")))
    assert clock.slept[2:] == [1.5]
    clock.now += 60
    rollback(site, state)
    assert clock.slept[3:] == [0.0]
    rollback(site, state)
    assert clock.slept[4:] == [2.0]


def test_a_clock_that_was_set_back_delays_nobody(
    site: Site, state: Path, make_build: BuildFactory, clock: Clock
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    clock.now -= 1_000_000
    publish(site, state, "aarch64", str(make_build(version="2")))
    assert clock.slept == [0.0, 2.0]


def test_a_push_waits_likewise(proxy: s3.Proxy, make: Make, clock: Clock) -> None:
    one, two = make(1, "1"), make(2, "2")
    go(one)
    clock.now += 0.5
    go(two)
    assert clock.slept == [0.0, 0.0, 1.5, 0.0], "the second repository was shown as long by then"
    go(two, verify=True)
    assert len(clock.slept) == 4, "nothing changes"
    clock.now -= 1_000_000
    go(make(3, "1"))
    assert clock.slept[4:] == [2.0, 2.0]
