"""How the demo follows what it asked for: suites come after the packages, are asked for once, and count."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import pytest
from rich.console import Console

from config.loading import load_site
from config.models import Targets
from master.client import demo
from master.client.api import Api, Snapshot
from master.client.demo import DemoRun, follow
from master.client.progress import LAB_ROW
from master.client.tables import lab_table, overview
from master.service.service import Service
from tests.master.test_progress import BUILDERS, FAILURE, SUCCESS, build, promotion, run, step

SITE = load_site("demo")
PACKAGE = SITE.package("zlib").model_copy(update={"targets": Targets(("ppc64le",))})
RUNS = {"ppc64le": ("cpu-level", "power-kvm")}


class Answers:
    """A master that answers with what it is told to, one look after the other."""

    def __init__(self, *looks: list[dict[str, Any]]) -> None:
        self.looks: Iterator[list[dict[str, Any]]] = iter(looks)

    def snapshot(self, _targets: Any) -> Snapshot:
        builds = sorted(next(self.looks), key=lambda b: -b["buildid"])
        return Snapshot(BUILDERS, builds, (), {5: [step("test in QEMU", SUCCESS)]}, now=140)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets whose suites were asked for, as they are."""
    found: list[str] = []
    monkeypatch.setattr(demo, "POLL_SECONDS", 0)
    monkeypatch.setattr(demo, "published_commits", lambda _service: {})
    monkeypatch.setattr(DemoRun, "suites", lambda _self, target: found.append(target))
    return found


def followed(*looks: list[dict[str, Any]], forgiven: int = 0) -> dict[str, str]:
    """What became of it: row of the table → state."""
    service = cast("Service", type("Stands", (), {"site": SITE})())
    wanted = DemoRun(service, cast("Any", None), [PACKAGE], RUNS)
    cells = follow(wanted, cast("Api", Answers(*looks)), {"zlib": "c0ffee"}, Console(quiet=True), forgiven)
    return {row: cell.state for (row, _), cell in cells.items()}


SOURCE = [build(1, "source")]
TARGET = [build(1, "source", SUCCESS), build(2, "ppc64le")]
HELD = [build(1, "source", SUCCESS), build(2, "ppc64le", SUCCESS)]
DONE = [*HELD, promotion(3, SUCCESS, "ppc64le", "ppc64le")]


def test_suites_are_asked_for_once_the_packages_are_with_their_targets(asked: list[str]) -> None:
    seen: list[list[str]] = []

    def looks() -> Iterator[list[dict[str, Any]]]:
        for look in ([], SOURCE, TARGET, TARGET, DONE, [*DONE, run(5)], [*DONE, run(5, SUCCESS)]):
            seen.append(list(asked))
            yield look

    assert followed(*looks()) == {"zlib": "published", LAB_ROW: "passed"}
    assert asked == ["ppc64le"]


def test_a_package_that_stays_in_a_stage_ends_the_demo_and_is_not_published(asked: list[str]) -> None:
    stays = [*HELD, promotion(3, SUCCESS, "ppc64le")]
    assert followed(stays, [*stays, run(5)], [*stays, run(5, SUCCESS)]) == {"zlib": "signed", LAB_ROW: "passed"}
    assert asked == ["ppc64le"]


def test_nothing_is_asked_for_while_a_source_is_made(asked: list[str]) -> None:
    with pytest.raises(StopIteration):
        followed([], SOURCE, SOURCE)
    assert asked == []


def test_a_suite_that_fails_is_a_failure_of_the_whole(asked: list[str]) -> None:
    assert followed([*DONE, run(5, FAILURE)])[LAB_ROW] == "failed"
    assert asked == []


def test_a_suite_that_failed_in_an_earlier_demo_is_asked_for_again(asked: list[str]) -> None:
    again = followed([*DONE, run(5, FAILURE)], [*DONE, run(5, FAILURE), run(6, SUCCESS)], forgiven=5)
    assert again[LAB_ROW] == "passed"
    assert asked == ["ppc64le"]


def test_the_tables_show_what_suites_said(asked: list[str]) -> None:
    service = cast("Service", type("Stands", (), {"site": SITE})())
    wanted = DemoRun(service, cast("Any", None), [PACKAGE], RUNS)
    api = cast("Api", Answers([*DONE, run(5, SUCCESS)]))
    cells = follow(wanted, api, {"zlib": "c0ffee"}, Console(quiet=True))
    said = io.StringIO()
    Console(width=200, file=said).print(overview(service, [PACKAGE], cells), lab_table(RUNS, cells))
    text = said.getvalue()
    assert LAB_ROW in text
    assert "cpu-level, power-kvm" in text
    assert "test in QEMU said" in text
