"""Builds in the artifact store, as a test looks for them: whose packages these are, and which tests they carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from config.models import Site, Target
from workers.artifacts import artifact_store, subject
from workers.base.errors import CannotRun
from workers.lab.testfiles import read_tests
from workers.results import BuildResult


def builds_of(site: Site, state: Path, target: Target) -> Mapping[str, BuildResult]:
    """Checksum of a package → the target's build that made it.

    :raises CannotRun: when the store cannot be read.
    """
    import fsspec

    store = artifact_store.store(site, state)
    try:
        files, root = fsspec.url_to_fs(store)
        found = files.glob(f"{root}/builds/{target.name}/*/build.json")
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(f"cannot read {store}: {error}", "check the address and its credentials") from None
    builds: dict[str, BuildResult] = {}
    for path in sorted(found):
        url = files.unstrip_protocol(path)
        build = artifact_store.read_result(url, BuildResult)
        if build is not None:
            folder = url.rpartition("/")[0]
            builds |= dict.fromkeys((rpm.sha256 for rpm in build.rpms), build.model_copy(update={"url": folder}))
    return builds


def carried_tests(build: BuildResult, scratch: Path, *, url: str = "") -> Mapping[str, bytes]:
    """The test files that came with a build; none where it has none.

    :param url: the build's folder, where it is not the one the build itself names.
    :raises CannotRun: when they are missing, or not what build.json says.
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
        raise CannotRun(f"{place} is not what build.json says", "it was changed; build the package again")
    raise CannotRun(f"the tests of {folder} are missing: {build.tests.url}", "build the package again")
