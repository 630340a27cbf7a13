"""Builds in the artifact store: which build made a package, and which test files came with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from config.models import Site, Target
from workers.artifacts import artifact_store, subject
from workers.base.errors import CannotRun
from workers.lab.testfiles import read_tests
from workers.results import BuildResult


def builds_of(site: Site, state: Path, target: Target) -> Mapping[str, BuildResult]:
    """Map the checksum of each package to the target's build that made it.

    :raises CannotRun: if the store cannot be read.
    """
    import fsspec

    store = artifact_store.store(site, state)
    try:
        files, root = fsspec.url_to_fs(store)
        results = files.glob(f"{root}/builds/{target.name}/*/build.json")
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(
            f"cannot read the artifact store {store}: {error}", "check the address and its credentials"
        ) from None
    builds: dict[str, BuildResult] = {}
    for path in sorted(results):
        url = files.unstrip_protocol(path)
        build = artifact_store.read_result(url, BuildResult)
        if build is not None:
            folder = url.rpartition("/")[0]
            builds |= dict.fromkeys((rpm.sha256 for rpm in build.rpms), build.model_copy(update={"url": folder}))
    return builds


def carried_tests(build: BuildResult, scratch: Path, *, url: str = "") -> Mapping[str, bytes]:
    """Return the test files that came with a build, by name; empty if the build has no tests.

    :param scratch: folder for the copy of the tar.
    :param url: the build's folder, if it differs from the folder in build.json.
    :raises CannotRun: if the tar is missing, or its checksum differs from the one in build.json.
    """
    if build.tests is None:
        return {}
    import fsspec

    folder = url or build.url
    scratch.mkdir(parents=True, exist_ok=True)
    copy = scratch / "tests.tar"
    for place in (f"{folder}/{build.tests.name}", build.tests.url):
        try:
            with fsspec.open(place, "rb") as source:
                copy.write_bytes(source.read())
        except FileNotFoundError:
            continue
        if subject.artifact(copy, place).sha256 == build.tests.sha256:
            return read_tests(copy)
        raise CannotRun(f"{place} is not what build.json says: its checksum differs", "build the package again")
    raise CannotRun(f"the tests of {folder} are missing: {build.tests.url}", "build the package again")
