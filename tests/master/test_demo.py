"""How the demo follows its builds: suites start after the packages, are requested once, and count."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, cast

import pytest
import requests
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


class PreparedMaster:
    """A master with prepared answers, one for each call."""

    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self.answers: Iterator[list[dict[str, Any]]] = iter(answers)

    def snapshot(self, _targets: Any) -> Snapshot:
        builds = sorted(next(self.answers), key=lambda b: -b["buildid"])
        return Snapshot(BUILDERS, builds, (), {5: [step("test in QEMU", SUCCESS)]}, now=140)


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The targets whose suites the demo requests, filled while it runs."""
    targets: list[str] = []
    monkeypatch.setattr(demo, "POLL_SECONDS", 0)
    monkeypatch.setattr(demo, "published_commits", lambda _service: {})
    monkeypatch.setattr(DemoRun, "suites", lambda _self, target: targets.append(target))
    return targets


def final_states(*answers: list[dict[str, Any]], ignored: int = 0) -> dict[str, str]:
    """Return row of the table → state at the end."""
    service = cast("Service", type("Stands", (), {"site": SITE})())
    wanted = DemoRun(service, cast("Any", None), [PACKAGE], RUNS)
    cells = follow(wanted, cast("Api", PreparedMaster(*answers)), {"zlib": "c0ffee"}, Console(quiet=True), ignored)
    return {row: cell.state for (row, _), cell in cells.items()}


SOURCE = [build(1, "source")]
TARGET = [build(1, "source", SUCCESS), build(2, "ppc64le")]
BUILT = [build(1, "source", SUCCESS), build(2, "ppc64le", SUCCESS)]
DONE = [*BUILT, promotion(3, SUCCESS, "ppc64le", "ppc64le")]


def test_suites_are_requested_once_after_the_packages_have_reached_their_targets(requested: list[str]) -> None:
    seen: list[list[str]] = []

    def answers() -> Iterator[list[dict[str, Any]]]:
        for answer in ([], SOURCE, TARGET, TARGET, DONE, [*DONE, run(5)], [*DONE, run(5, SUCCESS)]):
            seen.append(list(requested))
            yield answer

    assert final_states(*answers()) == {"zlib": "published", LAB_ROW: "passed"}
    assert requested == ["ppc64le"]


def test_suites_are_requested_again_if_the_master_ends_while_they_are_requested(
    requested: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def suites(_run: DemoRun, target: str) -> None:
        if not refused:
            refused.append(target)
            raise requests.ConnectionError("Connection aborted")
        requested.append(target)

    monkeypatch.setattr(DemoRun, "suites", suites)
    assert final_states(TARGET, DONE, [*DONE, run(5)], [*DONE, run(5, SUCCESS)]) == {
        "zlib": "published",
        LAB_ROW: "passed",
    }
    assert (refused, requested) == (["ppc64le"], ["ppc64le"])


def test_a_package_that_stays_in_a_stage_ends_the_demo_and_is_not_published(requested: list[str]) -> None:
    stays = [*BUILT, promotion(3, SUCCESS, "ppc64le")]
    assert final_states(stays, [*stays, run(5)], [*stays, run(5, SUCCESS)]) == {"zlib": "signed", LAB_ROW: "passed"}
    assert requested == ["ppc64le"]


def test_no_suite_is_requested_while_a_source_is_made(requested: list[str]) -> None:
    with pytest.raises(StopIteration):
        final_states([], SOURCE, SOURCE)
    assert requested == []


def test_a_suite_that_fails_makes_the_demo_fail(requested: list[str]) -> None:
    assert final_states([*DONE, run(5, FAILURE)])[LAB_ROW] == "failed"
    assert requested == []


def test_a_suite_that_failed_in_an_earlier_demo_is_requested_again(requested: list[str]) -> None:
    again = final_states([*DONE, run(5, FAILURE)], [*DONE, run(5, FAILURE), run(6, SUCCESS)], ignored=5)
    assert again[LAB_ROW] == "passed"
    assert requested == ["ppc64le"]


def test_the_tables_show_the_results_of_suites(requested: list[str]) -> None:
    service = cast("Service", type("Stands", (), {"site": SITE})())
    wanted = DemoRun(service, cast("Any", None), [PACKAGE], RUNS)
    api = cast("Api", PreparedMaster([*DONE, run(5, SUCCESS)]))
    cells = follow(wanted, api, {"zlib": "c0ffee"}, Console(quiet=True))
    output = io.StringIO()
    Console(width=200, file=output).print(overview(service, [PACKAGE], cells), lab_table(RUNS, cells))
    text = output.getvalue()
    assert LAB_ROW in text
    assert "cpu-level, power-kvm" in text
    assert "test in QEMU: text" in text
