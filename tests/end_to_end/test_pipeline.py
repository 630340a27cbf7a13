"""The whole pipeline on a real service: commits in, signed packages out, although a worker and the master are killed.

The tests of this file depend on each other and run in order.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.loading import load_site
from tests.end_to_end import tutorial
from tests.end_to_end.conftest import (
    PACKAGES,
    TARGETS,
    Service,
    descendants,
    git,
    processes_of,
    running_target_build,
    until,
)
from tests.other_names import STAGES

pytestmark = [pytest.mark.service, pytest.mark.sandbox, pytest.mark.guest]
STEPS = ("build RPMs", "verify code and flags", "test in QEMU", "stage for next builds", "hand to promote")


def test_the_demo_ends_with_every_package_published_on_every_target(demo: str) -> None:
    assert "everything passed" in demo
    rows = [line for line in demo.splitlines() if line.count("yes") == 4]
    assert len(rows) == len(PACKAGES) * len(TARGETS)


def test_the_builds_of_a_lost_worker_and_a_lost_master_are_retried(service: Service, demo: str) -> None:
    retried = [b for b in service.builds() if b["results"] == 5]
    assert retried, "the killed worker's build and the killed master's builds end as RETRY"


def test_no_process_or_mount_of_a_build_is_left(service: Service, demo: str) -> None:
    until(lambda: not processes_of(service.state, ["rpmbuild", "qemu-system", "bwrap"]), "builds without leftovers", 60)
    assert [line for line in Path("/proc/mounts").read_text().splitlines() if str(service.state) in line] == []


def test_each_package_installs_with_both_signature_checks_on_each_target(service: Service, demo: str) -> None:
    for target in TARGETS:
        service.kitten("install-check", "--target", target, *PACKAGES)
        service.kitten("install-check", "--target", target, "--stage", STAGES["testing"], *PACKAGES)


def test_every_folder_of_a_stage_has_the_name_in_the_site(service: Service, demo: str) -> None:
    assert {*STAGES.values()} <= {path.name for path in service.state.iterdir()}
    assert not {*STAGES, "published"} & {path.name for path in service.state.iterdir()}
    assert list((service.state / STAGES["kitten"] / "harbour-3").rglob("bzip2-*.hb3.s390x.rpm"))


def test_a_second_demo_has_nothing_to_do(service: Service, demo: str) -> None:
    before = len(service.builds())
    assert "nothing to do" in service.kitten("demo").stdout
    assert len(service.builds()) == before


@pytest.fixture(scope="module")
def page(service: Service, demo: str) -> Iterator[Any]:
    """A page in a real browser."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this host: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


@pytest.mark.browser
def test_the_builders_page_lists_a_builder_for_each_target(service: Service, page: Any) -> None:
    page.goto(f"{service.url}#/builders")
    for name in ("source", *TARGETS, "promote", "lab"):
        page.get_by_role("link", name=name, exact=True).first.wait_for()


@pytest.mark.browser
def test_a_build_page_shows_its_steps_and_their_results(service: Service, page: Any) -> None:
    builders = {name: number for number, name in service.builders().items()}
    builds = [b for b in service.builds(builderid=builders["x86_64"]) if b["results"] == 0]
    assert builds, "the demo leaves a successful build on x86_64"
    build = builds[0]
    page.goto(f"{service.url}#/builders/{build['builderid']}/builds/{build['number']}")
    for step in STEPS:
        page.get_by_text(step).first.wait_for()
    package = build["properties"]["package"][0]
    assert f"{package}-" in page.inner_text("body")
    assert "RPMs" in page.inner_text("body")


@pytest.mark.skipif(not Path(sys.executable).is_relative_to(tutorial.CHECKOUT), reason="the tutorial uses .venv")
def test_each_command_of_the_tutorial_does_what_the_page_says(service: Service, demo: str, tmp_path: Path) -> None:
    folder = tutorial.checkout_with_state(tmp_path / "checkout", service.state)
    lines = tutorial.commands(tutorial.PAGE.read_text())
    dist = load_site(service.site).build.dist  # the page has the demo's: .el10
    try:
        done = tutorial.run(lines, folder, service.environment)
        assert done.returncode == 0, done.stdout[-4000:]
        assert lines[-1] == "make stop"
        assert not processes_of(service.state, ["twistd", "supervisord"])
        assert "s390x: success" in done.stdout
        before, _, after = done.stdout.partition("\n+ git push")
        assert f"pigz-2.8-1{dist}" in before
        assert f"pigz-2.8-2{dist}" in after
    finally:
        service.kitten("up")  # for the tests that follow
    until(lambda: idle(service), "an idle service", 120)


def commit(service: Service, tmp_path: Path, package: str, change: Callable[[str], str], message: str) -> str:
    clone = tmp_path / package
    git("clone", "-q", "-b", "c10s", service.dist_git(package), clone)
    spec = clone / f"{package}.spec"
    text = spec.read_text()
    assert change(text) != text
    spec.write_text(change(text))
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git(*who, "commit", "-qam", message, cwd=clone)
    git("push", "-q", "origin", "c10s", cwd=clone)
    return git("rev-parse", "HEAD", cwd=clone)


def idle(service: Service) -> bool:
    return not service.builds(complete="false") and not service.api("buildrequests", complete="false")["buildrequests"]


def test_a_commit_to_zlib_rebuilds_zlib_on_five_targets_and_nothing_else(
    service: Service, demo: str, tmp_path: Path
) -> None:
    before = {b["buildid"] for b in service.builds()}

    def release(text: str) -> str:
        return _next_release(text).replace("%changelog\n", _CHANGELOG, 1)

    new = commit(service, tmp_path, "zlib", release, "A new release")

    def all_finished() -> bool:
        built = [b for b in service.builds() if b["buildid"] not in before]
        return len(built) >= 11 and all(b["complete"] for b in built) and idle(service)

    until(all_finished, "one source build, five target builds, five promotions", 1200)
    built = [b for b in service.builds() if b["buildid"] not in before]
    builders = service.builders()
    assert {b["properties"]["package"][0] for b in built} == {"zlib"}
    assert sorted(builders[b["builderid"]] for b in built) == sorted(["source", *TARGETS, *["promote"] * 5])
    assert {b["results"] for b in built} == {0}
    assert {b["properties"]["commit"][0] for b in built} == {new}


_CHANGELOG = "%changelog\n* Mon Nov 23 2026 kitten-ci demo <demo@localhost> - 99\n- A new release\n\n"


def _next_release(spec: str) -> str:
    import re

    return re.sub(r"^Release:(\s*)\d+", r"Release:\g<1>99", spec, count=1, flags=re.MULTILINE)


def test_a_commit_that_breaks_the_spec_fails_in_source_with_the_specs_error_and_publishes_nothing(
    service: Service, demo: str, tmp_path: Path
) -> None:
    published = service.kitten("published", "--json").stdout
    before = {b["buildid"] for b in service.builds()}
    commit(
        service, tmp_path, "bzip2", lambda text: text.replace("%description\n", "%descriptoin\n", 1), "A broken spec"
    )
    until(
        lambda: [b for b in service.builds() if b["buildid"] not in before and b["complete"]], "the source build", 120
    )
    until(lambda: idle(service), "an idle service", 60)
    (build,) = [b for b in service.builds() if b["buildid"] not in before]
    assert service.builders()[build["builderid"]] == "source"
    assert build["results"] == 2
    assert "bzip2.spec" in build["state_string"]
    assert service.kitten("published", "--json").stdout == published


def test_a_try_build_runs_in_the_production_buildroot_and_publishes_nothing(
    service: Service, demo: str, tmp_path: Path
) -> None:
    published = service.kitten("published", "--json").stdout
    clone = tmp_path / "pigz"
    git("clone", "-q", "-b", "c10s", service.dist_git("pigz"), clone)
    spec = clone / "pigz.spec"
    spec.write_text(spec.read_text().replace("%check\n", "%check\nnm -D pigz | grep -q deflate\n", 1))
    wanted = ["try", "--package", "pigz", "--target", "aarch64", "--wait"]
    done = service.kitten(*wanted, cwd=clone)
    assert "aarch64: success" in done.stdout
    spec.write_text(spec.read_text().replace("grep -q deflate", "grep -q no_such_symbol"))
    done = service.kitten(*wanted, cwd=clone, check=False)
    assert done.returncode == 1
    assert "%check" in done.stdout
    assert service.kitten("published", "--json").stdout == published


def test_a_cancelled_build_leaves_no_process_behind(service: Service, demo: str, tmp_path: Path) -> None:
    commit(service, tmp_path, "pigz", _next_release, "To be cancelled")

    def under_way() -> tuple[dict[str, Any], dict[int, str]] | None:
        if (build := running_target_build(service)) is None:
            return None
        worker = service.api(f"workers/{build['workerid']}")["workers"][0]["name"]
        started = descendants(service.process_ids()[worker])
        return (build, started) if any("rpmbuild" in line for line in started.values()) else None

    build, started = until(under_way, "a build whose rpmbuild runs")
    refused = service.act("contributor", f"builds/{build['buildid']}", "stop", reason="not mine")
    assert refused.status_code == 403
    assert service.act("release", f"builds/{build['buildid']}", "stop", reason="a test").ok
    ended = until(lambda: [b for b in service.builds(buildid=build["buildid"]) if b["complete"]], "its end", 60)
    assert ended[0]["results"] == 6
    until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], "the end of all its processes", 30)


def test_all_processes_end_with_a_killed_supervisor_and_the_next_start_goes_on(service: Service, demo: str) -> None:
    supervisor = int((service.state / "service" / "supervisord.pid").read_text())
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not processes_of(service.state, ["twistd", "bwrap", "qemu-system"]), "the end of all processes", 60)
    service.kitten("up")
    assert set(service.process_ids()) == {"master", "build-1", "build-2", "build-3", "try-1", "publish-1"}
    assert service.kitten("published", "--json").stdout.count('"pigz"') >= len(TARGETS)
