"""SRPM → RPMs for one target. The hash of all inputs names a build: it is made once, then found again."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from config.identity import identity_of
from config.models import Site, SourcePackage, Target
from workers.artifacts import artifact_store, reuse
from workers.artifacts.put import partial_folder, put_folder
from workers.base import cache
from workers.base.errors import CannotRun, CheckFailed
from workers.formats.rpm_file import header_of
from workers.repository import buildroot
from workers.repository.buildroot import Solvable
from workers.results import Artifact, BuildResult, SourceResult
from workers.rpm.backend import Backend, BuildOutput, Plan


@dataclass(frozen=True)
class Order:
    """The build to make."""

    site: Site
    state: Path
    target: Target
    source: str = ""
    """Folder that ``kitten source`` made, or …"""
    srpm: str = ""
    """… an SRPM."""
    trial: bool = False
    """A try build: stored apart, never staged or published."""


@dataclass(frozen=True)
class _Input:
    """The SRPM on this host, and its origin."""

    package: Solvable
    artifact: Artifact
    folder: str = ""
    source: SourceResult | None = None

    @property
    def nevr(self) -> str:
        return f"{self.package.name}-{self.package.evr}"


def backend(site: Site, target: Target, staged: Path) -> Backend:
    """Return the backend that the site's build.yaml names.

    :param staged: folder of the target's buildroot repository.
    """
    if site.build.backend == "mock":
        from workers.rpm.mock import Mock

        return Mock(site, target, staged)
    from workers.rpm.sandboxed import Sandbox

    return Sandbox(site, target, staged)


def build(order: Order, backend: Backend) -> BuildResult:
    """Build an SRPM, or find the same build in the store.

    :return: the result, which is also build.json beside the RPMs; for a failed build, below ``artifacts/failed``.
    :raises CannotRun: the input is wrong, a tool is missing, or this host cannot build for the target.
    """
    began = time.monotonic()
    given = _input(order)
    configured = _package(order, given)
    trial = order.trial or bool(given.source and given.source.patch)
    known = BuildResult(
        summary="",
        trial=trial,
        target=order.target.name,
        package=given.package.name,
        nevr=given.nevr,
        commit=given.source.commit if given.source else "",
        srpm=given.artifact,
    )
    try:
        plan = backend.plan(given.package)
    except CheckFailed as error:
        return _result(known, began, outcome="failed", summary=f"{given.nevr}: {error}", cause=str(error))
    name = identity(order, given.artifact.sha256, plan)
    known = known.model_copy(
        update={
            "identity": name,
            "tree": plan.tools,
            "buildroot": tuple(sorted(f"{package.nevra} {package.sha256}" for package in plan.packages)),
        }
    )
    url = f"{artifact_store.store(order.site, order.state, trial=trial)}/builds/{order.target.name}/{name}"
    with cache.hold_lock(cache.root() / "locks" / f"{'try' if trial else 'build'}-{order.target.name}-{name}"):
        stored = reuse.reuse_result(f"{url}/build.json", BuildResult)
        if stored is not None:
            return stored.model_copy(update={"reused": True, "seconds": time.monotonic() - began})
        return _build_and_store(order, backend, given, configured, plan, known, url, began)


_NO_BUILD_INPUTS = {"machine", "suites", "description", "required", "lag_days"}
"""Keys of a target that do not change its packages: they are about tests and about other targets that wait."""


def identity(order: Order, srpm_sha256: str, plan: Plan) -> str:
    """Return the build's identity: SHA-256 of SRPM, target entry, build.yaml, packages of the buildroot, tools."""
    return identity_of(
        {
            "srpm": srpm_sha256,
            "target": order.target.model_dump(mode="json", exclude=_NO_BUILD_INPUTS),
            "build": order.site.build.model_dump(mode="json", exclude={"timeout_minutes"}),
            "buildroot": sorted(package.sha256 for package in plan.packages),
            "tools": plan.tools,
            "inputs": dict(plan.inputs),
        }
    )


def _input(order: Order) -> _Input:
    if order.source:
        stored = artifact_store.source_at(order.source, order.state)
        path = artifact_store.fetch(stored.url, stored.srpm)
        return _Input(buildroot.read_solvable(path), stored.srpm, stored.url, stored.result)
    path = artifact_store.fetch_url(order.srpm)
    package = buildroot.read_solvable(path)
    return _Input(package, artifact_store.artifact_of(path, str(path.parent), package.sha256))


def _package(order: Order, given: _Input) -> SourcePackage:
    if not given.artifact.name.endswith(".src.rpm"):
        raise CannotRun(f"{given.artifact.name} is not a source package", "give a .src.rpm")
    try:
        configured = order.site.package(given.package.name)
    except KeyError as error:
        raise CannotRun(str(error.args[0]), f"describe it in packages/{given.package.name}.yaml of the site") from None
    if order.target not in order.site.targets_of(configured):
        raise CannotRun(
            f"{configured.name} is not built for {order.target.name}", f"see targets in packages/{configured.name}.yaml"
        )
    return configured


def _build_and_store(
    order: Order,
    backend: Backend,
    given: _Input,
    configured: SourcePackage,
    plan: Plan,
    known: BuildResult,
    url: str,
    began: float,
) -> BuildResult:
    partial = partial_folder(url)
    try:
        output = backend.build(given.package, plan, partial)
    except CheckFailed as error:
        output = BuildOutput(logs=tuple(partial.glob("*.log")), cause=str(error))
    cause = output.cause or _unexpected(
        configured, [path.name for path in output.rpms], [header_of(path).name for path in output.rpms]
    )
    if cause:
        url = url.replace(f"/builds/{order.target.name}/", f"/failed/{order.target.name}/")
        for path in output.rpms:
            path.unlink()
        partial = partial.rename(partial_folder(url))
    logs = tuple(artifact_store.artifact_of(_compress(partial / path.name), url) for path in output.logs)
    known = known.model_copy(update={"url": url, "logs": logs, "buildroot": known.buildroot or output.buildroot})
    if cause:
        result = _result(known, began, outcome="failed", summary=f"{given.nevr}: {cause}", cause=cause)
    else:
        rpms = tuple(artifact_store.artifact_of(path, url) for path in output.rpms)
        count = "1 RPM" if len(rpms) == 1 else f"{len(rpms)} RPMs"
        summary = f"{given.nevr}: {count}, {time.monotonic() - began:.0f} s"
        result = _result(known, began, summary=summary, rpms=rpms, tests=_tests(given, partial, url))
    files = [*result.logs, *result.rpms, *([result.tests] if result.tests else [])]
    return put_folder(partial, url, result, "build.json", files, replace=bool(cause))


def _result(known: BuildResult, began: float, **more: object) -> BuildResult:
    return BuildResult.model_validate(known.model_dump() | {"seconds": time.monotonic() - began} | more)


def _unexpected(configured: SourcePackage, files: list[str], names: list[str]) -> str:
    """Return which package is missing or not listed in the configuration; empty if none."""
    if not configured.binaries:
        return "" if files else "rpmbuild made no package"
    expected = set(configured.binaries)
    if missing := sorted(expected.difference(names)):
        return f"rpmbuild made no {', '.join(missing)} (listed in packages/{configured.name}.yaml)"
    if stray := configured.strays(names):
        return f"rpmbuild made {', '.join(stray)}, which packages/{configured.name}.yaml does not list"
    return "" if files else "rpmbuild made no package"


def _tests(given: _Input, partial: Path, url: str) -> Artifact | None:
    """Copy the source's tests beside the RPMs: a guest needs only this folder."""
    if given.source is None or given.source.tests is None:
        return None
    path = partial / given.source.tests.name
    shutil.copyfile(artifact_store.fetch(given.folder, given.source.tests), path)
    return artifact_store.artifact_of(path, url)


def _compress(log: Path) -> Path:
    import zstandard

    packed = log.with_name(f"{log.name}.zst")
    with log.open("rb") as source, packed.open("wb") as copy:
        zstandard.ZstdCompressor().copy_stream(source, copy)
    log.unlink()
    return packed
