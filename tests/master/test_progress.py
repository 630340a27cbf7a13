"""The table of the demo, from the answers of the REST API at one moment."""

from __future__ import annotations

from typing import Any

import pytest

from config.loading import load_site
from master.client.api import Snapshot
from master.client.progress import LAB_ROW, all_settled, housekeeping_lines, lab_cells, matrix, seconds_left
from master.status import Cell

SITE = load_site("demo")
BUILDERS = {1: "source", 2: "x86_64", 3: "x86_64_v2", 4: "aarch64", 5: "ppc64le", 6: "s390x", 7: "promote", 8: "lab"}
SUCCESS, WARNINGS, FAILURE, EXCEPTION, RETRY, CANCELLED = 0, 1, 2, 4, 5, 6


def build(number: int, builder: str, results: int | None = None, **properties: object) -> dict[str, Any]:
    builderid = next(i for i, name in BUILDERS.items() if name == builder)
    known = {"package": "zlib", "commit": "c0ffee", **properties}
    return {
        "buildid": number,
        "number": number,
        "builderid": builderid,
        "complete": results is not None,
        "results": results,
        "started_at": 100,
        "complete_at": 130 if results is not None else None,
        "state_string": "its text",
        "properties": {name: [value, "test"] for name, value in known.items()},
    }


def step(name: str, results: int | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "complete": results is not None,
        "results": results,
        "started_at": 100,
        "state_string": f"{name}: text",
    }


def cell(*builds: dict[str, Any], target: str = "x86_64", published: str = "", **parts: Any) -> Cell:
    seen = Snapshot(
        BUILDERS,
        builds=sorted(builds, key=lambda b: -b["buildid"]),
        requests=parts.pop("requests", ()),
        now=140,
        **parts,
    )
    known = {("zlib", target): published} if published else {}
    return matrix(SITE, [SITE.package("zlib")], {"zlib": "c0ffee"}, seen, known)["zlib", target]


def test_a_package_without_builds_has_the_state_nothing() -> None:
    assert cell().state == "nothing"
    assert not cell().finished


def test_a_published_commit_is_finished_without_any_build() -> None:
    assert cell(published="c0ffee").finished
    assert cell(published="c0ffee").done == {"built", "verified", "tested", "published"}


def test_the_publication_of_another_commit_does_not_count() -> None:
    assert cell(published="0ld").state == "nothing"


def test_a_source_build_counts_for_every_target_even_before_it_knows_its_commit() -> None:
    assert cell(build(1, "source", commit="")).state == "source"


@pytest.mark.parametrize("results", [FAILURE, EXCEPTION, CANCELLED])
def test_a_failed_source_build_is_the_end_for_every_target(results: int) -> None:
    for target in ("x86_64", "s390x"):
        assert cell(build(1, "source", results), target=target).state == "failed"


def test_a_waiting_request_shows_its_reason() -> None:
    request = {"buildrequestid": 9, "builderid": 6, "properties": {"package": ["zlib", ""], "commit": ["c0ffee", ""]}}
    waits = cell(
        build(1, "source", SUCCESS),
        target="s390x",
        requests=[request],
        waiting={9: "waits for bzip2: building on s390x"},
    )
    assert (waits.state, waits.words) == ("waiting", "waits for bzip2: building on s390x")


def test_a_running_build_shows_its_step_and_what_passed() -> None:
    runs = cell(build(2, "x86_64"), steps={2: [step("build RPMs", SUCCESS), step("verify code and flags")]})
    assert (runs.state, runs.words, runs.done, runs.seconds) == ("running", "verify code and flags", {"built"}, 40)


def test_a_failed_build_names_the_step_that_failed() -> None:
    died = cell(
        build(2, "x86_64", FAILURE), steps={2: [step("build RPMs", SUCCESS), step("verify code and flags", FAILURE)]}
    )
    assert (died.state, died.words) == ("failed", "verify code and flags: verify code and flags: text")


def test_a_lost_worker_is_a_wait_and_not_a_failure() -> None:
    assert cell(build(2, "x86_64", RETRY)).state == "waiting"


def promotion(number: int, results: int, target: str, *released: str, commit: str = "c0ffee") -> dict[str, Any]:
    """A promotion, with the targets on which users have the commit after it."""
    has = {"released:zlib": [[name, commit] for name in released]}
    return build(number, "promote", results, target=target, **has)


def test_a_build_that_passed_waits_in_a_stage_until_a_promotion_reports_that_users_have_it() -> None:
    built = build(2, "x86_64", SUCCESS)
    assert cell(built).state == "promoting"
    assert cell(built, promotion(3, SUCCESS, "s390x")).state == "promoting"
    waits = cell(built, promotion(3, SUCCESS, "x86_64"))
    assert (waits.state, waits.finished, waits.words) == ("signed", False, "its text")
    assert waits.done == set()
    assert cell(built, promotion(3, SUCCESS, "x86_64"), promotion(4, SUCCESS, "s390x", "x86_64")).state == "published"
    refused = promotion(3, FAILURE, "x86_64")
    assert cell(built, refused).state == "failed"
    assert cell(built, refused, promotion(4, SUCCESS, "s390x", "x86_64", "s390x")).state == "published"
    other = promotion(4, SUCCESS, "s390x", "x86_64", commit="0ther")
    assert cell(built, promotion(3, SUCCESS, "x86_64"), other).state == "signed"


def test_a_release_that_was_rolled_back_does_not_count() -> None:
    built, came = build(2, "x86_64", SUCCESS), promotion(3, SUCCESS, "x86_64", "x86_64")
    assert cell(built, came, promotion(4, SUCCESS, "s390x")).state == "signed"


def test_cells_that_wait_in_a_stage_for_finished_ones_are_settled() -> None:
    waits, failed, runs = Cell("signed"), Cell("failed"), Cell("running")
    assert all_settled({("a", "x"): waits, ("a", "y"): failed})
    assert not all_settled({("a", "x"): waits, ("a", "y"): runs})


def test_the_newest_build_of_the_commit_counts() -> None:
    again = cell(build(2, "x86_64", FAILURE), build(4, "x86_64"))
    assert again.state == "running"
    other = cell(build(2, "x86_64", FAILURE), build(4, "x86_64", commit="0ther"))
    assert other.state == "failed"


def test_a_failure_up_to_the_ignored_build_does_not_count_but_a_later_one_does() -> None:
    builds = [build(4, "x86_64", FAILURE), build(2, "x86_64", SUCCESS), build(1, "source", SUCCESS)]
    seen = Snapshot(BUILDERS, builds=builds, requests=(), now=140)
    kept = lambda buildid: [b["buildid"] for b in seen.without_failures_up_to(buildid).builds]  # noqa: E731
    assert kept(3) == [4, 2, 1]
    assert kept(4) == [2, 1]


def test_time_left_is_unknown_until_something_is_finished_and_shrinks_with_workers() -> None:
    done, going, waits = Cell("published", seconds=30), Cell("running", seconds=20), Cell("waiting")
    assert seconds_left({("a", "x"): going}, 2) is None
    cells = {("a", "x"): done, ("b", "x"): going, ("c", "x"): waits}
    assert seconds_left(cells, 1) == 40
    assert seconds_left(cells, 2) == 20


def lab(*builds: dict[str, Any], ignored: int = 0, **parts: Any) -> Cell:
    newest_first = sorted(builds, key=lambda b: -b["buildid"])
    seen = Snapshot(BUILDERS, builds=newest_first, requests=parts.pop("requests", ()), now=140, **parts)
    return lab_cells(seen, {"ppc64le": ["power-kvm", "cpu-level"]}, ignored)[LAB_ROW, "ppc64le"]


def run(
    number: int, results: int | None = None, target: str = "ppc64le", suites: tuple[str, ...] = ()
) -> dict[str, Any]:
    return build(number, "lab", results, target=target, suites=list(suites or ("cpu-level", "power-kvm")))


def test_suites_of_a_target_have_the_state_of_their_newest_run() -> None:
    steps = {2: [step("worker preparation", SUCCESS), step("test in QEMU")]}
    assert lab().state == "nothing"
    runs = lab(run(2), run(1, FAILURE), steps=steps)
    assert (runs.state, runs.words, runs.seconds) == ("running", "test in QEMU: text", 40)
    assert lab(run(2, SUCCESS, suites=("cpu-level", "power-kvm", "more"))).state == "passed"
    assert lab(run(2, FAILURE), run(1, SUCCESS)).state == "failed"
    assert lab(run(2, RETRY)).state == "waiting"
    assert lab(run(1, SUCCESS)).finished


def test_another_target_s_run_or_one_of_fewer_suites_does_not_count() -> None:
    assert lab(run(2, SUCCESS, target="s390x")).state == "nothing"
    assert lab(run(2, SUCCESS, suites=("cpu-level",))).state == "nothing"
    assert lab(build(2, "ppc64le", SUCCESS, target="ppc64le", suites=["power-kvm", "cpu-level"])).state == "nothing"


def test_a_request_for_suites_waits_though_an_older_run_is_finished() -> None:
    request = {"buildrequestid": 9, "builderid": 8, "properties": run(0)["properties"]}
    assert lab(run(1, FAILURE), requests=[request]).state == "waiting"


def test_an_ignored_failed_run_is_requested_again_even_if_an_older_one_passed() -> None:
    assert lab(run(2, FAILURE), run(1, SUCCESS), ignored=2).state == "nothing"
    assert lab(run(3, FAILURE), run(1, SUCCESS), ignored=2).state == "failed"


def test_flaky_tests_are_shown_on_a_cell_that_passed() -> None:
    flaky = lab(run(2, WARNINGS), steps={2: [step("test in QEMU", WARNINGS)]})
    assert (flaky.state, flaky.warned, flaky.words) == ("passed", True, "test in QEMU: text")
    built = build(2, "x86_64", WARNINGS)
    published = cell(built, promotion(3, WARNINGS, "x86_64", "x86_64"))
    assert (published.state, published.warned, published.words) == ("published", True, "its text")
    assert not cell(build(2, "x86_64", SUCCESS), promotion(3, SUCCESS, "x86_64", "x86_64")).warned


def test_housekeeping_is_shown_one_line_each_with_its_age_and_its_failures() -> None:
    def row(what: str, results: str, text: str, finished: int) -> dict[str, Any]:
        return {"what": what, "results": results, "text": text, "finished": finished}

    now = 1_000_000
    rows = [
        row("compose kitten", "success", "nothing is new", now - 300),
        row("compose testing", "", "starting", 0),
        row("clean", "failure", "could not run: cannot remove", now - 3 * 3600),
        row("clean, dry run", "success", "dry run: nothing would be removed", now - 5 * 86400),
        row("clean, in the future", "success", "removed", now + 40),
    ]
    assert housekeeping_lines(rows, now) == [
        "compose kitten: nothing is new, 5 min ago",
        "compose testing: running",
        "clean: FAILURE: could not run: cannot remove, 3 h ago",
        "clean, dry run: dry run: nothing would be removed, 5 days ago",
        "clean, in the future: removed, 0 min ago",
    ]
