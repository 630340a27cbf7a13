"""A demo while the mirror lacks the packages of one architecture, and the next one with a complete mirror."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.loading import load_site
from tests.end_to_end.conftest import TARGETS, Service, processes_of
from tests.workers.mirror import Mirror, no_faults, serving
from workers.lab.guest.kernel import guest_parts
from workers.sandbox import apt
from workers.sandbox.layer import target_tree

pytestmark = [pytest.mark.service, pytest.mark.sandbox, pytest.mark.guest]

MISSING, DEBIAN_ARCH = "ppc64le", "ppc64el"
COMMAND = ("demo", "--packages", "bzip2", "--no-lab")


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    """The host's mirror without the packages of one architecture."""
    with serving(apt.mirror(), lambda path: 404 if path.endswith(f"_{DEBIAN_ARCH}.deb") else None) as running:
        yield running


@pytest.fixture(scope="module")
def service(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose cache has all trees, and the guests' parts of all targets except one."""
    site, cache = load_site("demo"), tmp_path_factory.mktemp("cache")
    parts = {path for target in site.targets for path in target_tree(site, target).lower}
    entries = {path.parent for path in parts} | {guest_parts(t).folder for t in site.targets if t.name != MISSING}
    for entry in entries:
        (cache / entry.parent.name).mkdir(exist_ok=True)
        (cache / entry.parent.name / entry.name).symlink_to(entry)
    with (
        tempfile.TemporaryDirectory(prefix="kitten-e2e-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("KITTEN_CACHE", str(cache))
        patch.setenv("KITTEN_DEBIAN_MIRROR", mirror.url)
        running = Service(Path(folder))
        try:
            yield running
        finally:
            running.kitten("down", check=False)
            assert processes_of(running.state, ["twistd", "supervisord", "qemu", "bwrap", "rpmbuild"]) == []


def finished_targets(output: str) -> set[str]:
    """Return the targets whose row of the table has four times yes."""
    return {line.split("│")[2].strip() for line in output.splitlines() if line.count("yes") == 4}


def test_the_other_targets_are_published_and_the_missing_one_is_explained(service: Service) -> None:
    done = service.kitten(*COMMAND, check=False)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-2000:]
    assert finished_targets(done.stdout) == {*TARGETS} - {MISSING}
    assert f"{MISSING} cannot be set up: the mirror " in done.stdout
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith(f"{MISSING} could not be set up")
    assert "run the same command again" in last


def test_with_a_complete_mirror_only_the_missing_target_is_built(service: Service, mirror: Mirror) -> None:
    before = {build["buildid"] for build in service.builds()}
    mirror.faults = no_faults
    done = service.kitten(*COMMAND)
    assert finished_targets(done.stdout) == {*TARGETS}
    names = service.builders()
    new = [build for build in service.builds() if build["buildid"] not in before]
    assert {names[build["builderid"]] for build in new} == {"source", MISSING, "promote"}
    assert {build["properties"]["target"][0] for build in new if names[build["builderid"]] == "promote"} == {MISSING}
    (repeated,) = [build for build in new if names[build["builderid"]] == MISSING]
    steps = service.api(f"builds/{repeated['buildid']}/steps")["steps"]
    assert any(
        "built before from the same inputs" in step["state_string"] for step in steps if step["name"] == "build RPMs"
    )
