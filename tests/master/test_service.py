"""A real master and real workers: from a push to every target and to ``promote``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from buildbot.process.results import CANCELLED, FAILURE, SUCCESS, WARNINGS

from tests.master.running import Service, eventually, git, service

pytestmark = pytest.mark.service
TARGETS = ("x86_64", "x86_64_v2")


@pytest.fixture(scope="module")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(autouse=True)
def _starts_and_ends_idle(ci: Service) -> Iterator[None]:
    yield
    for command in ("source", "build", "verify", "test", "stage", "publish"):
        for marker in ("hold", "flaky", *(f"fail-{name}" for name in (*TARGETS, "zlib", "pigz"))):
            ci.behave(command, marker, on=False)
    eventually(ci.idle, "no build runs")


def test_the_first_push_to_an_empty_repository_is_built_and_promoted_on_every_target(ci: Service) -> None:
    commit = ci.push("zlib", "first")
    source = ci.wait_for_finished("source", 1)[0]
    assert source["results"] == SUCCESS, source
    assert source["state_string"].endswith(f"zlib-1-1 from c10s {commit[:7]}")
    for target in TARGETS:
        build = ci.wait_for_finished(target, 1)[0]
        assert build["results"] == SUCCESS, build
        assert build["properties"]["package"] == "zlib"
        assert build["properties"]["commit"] == commit
        assert build["properties"]["target"] == target
        assert build["properties"]["source_buildid"] == source["buildid"]
        steps = ci.get(f"builds/{build['buildid']}/steps")["steps"]
        assert [step["name"] for step in steps if not step["hidden"]][-1] == "hand to promote"
        assert "zlib-1-1: 1 RPM, 1 s" in [step["state_string"] for step in steps]
        links = [url for step in steps for url in step["urls"] if url["name"] == "a.rpm"]
        assert ci.session(None).get(links[0]["url"], timeout=20).text == "rpm"
    promoted = ci.wait_for_finished("promote", 2)
    assert {build["properties"]["target"] for build in promoted} == set(TARGETS)
    assert {build["properties"]["commit"] for build in promoted} == {commit}


def test_a_package_waits_for_what_it_needs_and_shows_the_reason(ci: Service) -> None:
    """pigz needs zlib, which is under way: its builds start only when zlib's have ended."""
    ci.behave("build", "hold")
    ci.push("zlib", "second")
    ci.wait_for_running("x86_64", "zlib", 2)
    commit = ci.push("pigz", "first")

    def waits() -> set[str]:
        return {row["reason"] for row in ci.page("waiting.json").json()["waiting"] if row["package"] == "pigz"}

    eventually(lambda: waits() == {f"waits for zlib: under way on {t}" for t in TARGETS}, "pigz waits for zlib")

    def pigz() -> dict[str, dict[str, Any]]:
        rows = {row["package"]: row for row in ci.page("packages.json").json()["packages"]}
        return dict(rows["pigz"]["targets"])

    eventually(lambda: all(cell["owes"] for cell in pigz().values()), "pigz is owed by all targets")
    page = pigz()["x86_64"]
    assert (page["state"], page["words"]) == ("waiting", "waits for zlib: under way on x86_64")
    ci.behave("build", "hold", on=False)
    for target in TARGETS:
        built = eventually(lambda t=target: [b for b in ci.builds_of(t, commit) if b["complete"]], f"pigz on {target}")
        assert [build["results"] for build in built] == [SUCCESS]
        zlib = [b for b in ci.builds(target) if b["properties"]["package"] == "zlib"][-1]
        assert zlib["complete_at"] <= built[0]["started_at"]
    eventually(ci.idle, "promoted")
    assert [(cell["state"], cell["owes"]) for cell in pigz().values()] == [("published", False)] * len(TARGETS)


def test_packages_pushed_at_the_same_time_are_all_built(ci: Service) -> None:
    commits = {package: ci.push(package, "together") for package in ("pigz", "zlib")}
    for package, commit in commits.items():
        built = eventually(
            lambda c=commit: [b for b in ci.builds_of("source", c) if b["complete"]], f"{package} is made"
        )
        assert [build["properties"]["package"] for build in built] == [package]


def test_a_commit_that_breaks_the_source_shows_the_error_and_starts_no_build(ci: Service) -> None:
    ci.behave("source", "fail-zlib")
    before = len(ci.builds("x86_64"))
    commit = ci.push("zlib", "broken spec")
    source = eventually(lambda: [b for b in ci.builds_of("source", commit) if b["complete"]], "the source build ends")[
        0
    ]
    assert source["results"] == FAILURE
    assert "source failed as the test wants" in source["state_string"]
    assert len(ci.builds("x86_64")) == before


def test_a_build_that_fails_its_proof_is_neither_staged_nor_promoted_and_delays_no_other_target(ci: Service) -> None:
    ci.behave("verify", "fail-x86_64")
    commit = ci.push("zlib", "no frame pointers")
    other = eventually(lambda: [b for b in ci.builds_of("x86_64_v2", commit) if b["complete"]], "the other target")[0]
    assert other["results"] == SUCCESS
    failed = eventually(lambda: [b for b in ci.builds_of("x86_64", commit) if b["complete"]], "the target")[0]
    assert failed["results"] == FAILURE
    assert "verify failed as the test wants" in failed["state_string"]
    ran = [step["name"] for step in ci.get(f"builds/{failed['buildid']}/steps")["steps"]]
    assert "stage for next builds" not in ran
    eventually(ci.idle, "promoted")
    assert {build["properties"]["target"] for build in ci.builds_of("promote", commit)} == {"x86_64_v2"}


def test_a_push_of_many_commits_is_one_build_of_the_newest(ci: Service) -> None:
    before = len(ci.builds("source"))
    tree = ci.state / "trees" / "zlib"
    for number in range(3):
        git(tree, "commit", "-q", "--allow-empty", "-m", f"part {number}")
    commit = ci.push("zlib", "the whole")
    eventually(lambda: ci.builds_of("promote", commit), "promoted")
    eventually(ci.idle, "all is done")
    assert len(ci.builds("source")) == before + 1


def test_a_forced_build_goes_only_to_the_chosen_targets(ci: Service) -> None:
    before = {builder: len(ci.builds(builder)) for builder in ("source", *TARGETS)}
    status, text = ci.control(
        "release", "forceschedulers/force", "force", builderNames=["source"], package="pigz", targets=["x86_64_v2"]
    )
    assert status == 200, text
    eventually(lambda: len(ci.builds("x86_64_v2")) > before["x86_64_v2"], "the chosen target")
    eventually(ci.idle, "all is done")
    assert len(ci.builds("x86_64")) == before["x86_64"]
    assert ci.builds("source")[-1]["properties"]["owner"] == "release"


def test_a_forced_build_of_an_unknown_package_is_refused(ci: Service) -> None:
    status, _ = ci.control("release", "forceschedulers/force", "force", builderNames=["source"], package="../etc")
    assert status != 200


def test_a_cancelled_build_ends_its_command_and_is_cancelled(ci: Service) -> None:
    ci.behave("build", "hold")
    before = len(ci.builds("x86_64"))
    commit = ci.push("zlib", "to be cancelled")
    eventually(lambda: len(ci.builds("x86_64")) > before, "it runs")
    build = ci.builds("x86_64")[-1]
    eventually(lambda: ci.command_runs(build), "its command runs")
    status, text = ci.control("release", f"builds/{build['buildid']}", "stop", reason="test")
    assert status == 200, text
    ended = eventually(lambda: [b for b in ci.builds_of("x86_64", commit) if b["complete"]], "it ends")[0]
    assert ended["results"] == CANCELLED
    assert "cancelled" in ended["state_string"]


def test_a_build_with_a_flaky_test_is_published_with_a_warning(ci: Service) -> None:
    ci.behave("test", "flaky")
    commit = ci.push("zlib", "a flaky test")
    for target in TARGETS:
        build = eventually(lambda t=target: [b for b in ci.builds_of(t, commit) if b["complete"]], f"zlib on {target}")[
            0
        ]
        assert build["results"] == WARNINGS
        assert "1 FLAKY (packages: a)" in build["state_string"]
    eventually(lambda: len(ci.builds_of("promote", commit)) == len(TARGETS), "promoted")


def test_suites_of_a_target_run_without_a_package_for_users_that_may_start_builds(ci: Service) -> None:
    form = {"builderNames": ["lab"], "target": "x86_64_v2", "suites": ["cpu-level"]}
    assert ci.control("contributor", "forceschedulers/force-lab", "force", **form)[0] == 403
    for wrong in ({"target": "vax"}, {"suites": ["packages"]}, {"suites": ["../x"]}):
        assert ci.control("release", "forceschedulers/force-lab", "force", **{**form, **wrong})[0] not in (200, 403)
    status, text = ci.control("release", "forceschedulers/force-lab", "force", **form)
    assert status == 200, text
    (build,) = ci.wait_for_finished("lab", 1)
    assert (build["results"], build["properties"]["workername"]) == (SUCCESS, "build-1")
    calls = [json.loads(line) for line in (ci.state / "calls").read_text().splitlines()]
    options = [options for command, options in calls if command == "test" and "--build" not in options][-1]
    assert (options["--target"], options["--suite"]) == ("x86_64_v2", "cpu-level")
    assert "x86_64_v2: cpu-level: 1 tests passed" in build["state_string"]


def test_a_target_s_builds_run_the_suites_of_target_and_package(ci: Service) -> None:
    calls = [json.loads(line) for line in (ci.state / "calls").read_text().splitlines()]
    suites = {options.get("--suite") for command, options in calls if command == "test" and "--build" in options}
    assert suites == {"packages"}


def test_buildbot_counts_passed_tests_and_not_flaky_ones(ci: Service) -> None:
    def counted(builder: str) -> set[tuple[str, int | None, int | None]]:
        number = ci.get(f"builders/{builder}")["builders"][0]["builderid"]
        sets = ci.get(f"builders/{number}/test_result_sets")["test_result_sets"]
        return {(row["description"], row["tests_passed"], row["tests_failed"]) for row in sets}

    assert counted("lab") == {("guest tests", 1, 0)}
    assert {("guest tests", 1, 0), ("guest tests: flaky", None, None), ("verify", 1, 0), ("verify", 0, 1)} >= counted(
        "x86_64"
    )


def test_the_report_shows_the_picture_and_the_browser_gets_it_as_an_image(ci: Service) -> None:
    build = ci.builds("lab")[-1]
    steps = ci.get(f"builds/{build['buildid']}/steps")["steps"]
    logs = [log for step in steps for log in ci.get(f"steps/{step['stepid']}/logs")["logs"]]
    (report,) = [log for log in logs if log["name"] == "report"]
    assert report["type"] == "h"
    page = ci.get(f"logs/{report['logid']}/contents")["logchunks"][0]["content"]
    (address,) = re.findall("<img src='([^']*)'", page)
    assert address == f"{ci.url}plugins/kitten/lab/x86_64_v2/screen.png"
    answer = ci.session(None).get(address, timeout=20)
    assert answer.content == b"\x89PNG\r\n\x1a\n"
    assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == ("image/png", "nosniff")


def test_files_of_a_hostile_worker_do_no_harm_in_a_browser(ci: Service) -> None:
    folder = ci.state / "artifacts" / "hostile"
    (folder / "sub").mkdir(parents=True)
    evil = "<script>alert(1)</script>"
    for name in ("a.png", "a.svg", "a.html", "noname"):
        (folder / name).write_text(evil)
    (folder / "b.png").symlink_to(ci.state / "secrets" / "web-admin")
    (folder / "out").symlink_to(ci.state / "secrets")
    (folder / "in.png").symlink_to("a.png")
    for name in ("a.png", "a.svg", "a.html", "noname", "in.png"):
        answer = ci.page(f"artifacts/hostile/{name}")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert ci.page("artifacts/hostile/a.png").headers["content-type"] == "image/png"
    for name in ("b.png", "out/web-admin", "out/", "../../secrets/web-admin", "%2e%2e/%2e%2e/secrets/web-admin"):
        assert ci.page(f"artifacts/hostile/{name}").status_code == 404
    assert ci.page("lab/%2e%2e/secrets/web-admin").status_code == 404


def test_artifacts_are_shown_but_no_hidden_files_and_none_outside(ci: Service) -> None:
    assert ci.page("artifacts/builds/").status_code == 200
    hidden = ci.state / "artifacts" / ".partial"
    hidden.mkdir(exist_ok=True)
    (hidden / "x").write_text("secret")
    assert ci.page("artifacts/.partial/x").status_code == 404
    assert ".partial" not in ci.page("artifacts/").text
    assert ci.page("artifacts/%2e%2e/secrets/web-admin").status_code == 404
    assert ci.page("artifacts/..%2fsecrets/web-admin").status_code == 404
    assert ci.page("secrets/web-admin").status_code == 404
    assert ci.page("artifacts/builds/").headers["content-security-policy"].startswith("sandbox")
