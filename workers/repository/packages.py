"""What a package says of itself, held against what its build says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.nevra import Nevra, is_debug
from workers.base.errors import CannotRun
from workers.formats.rpm_file import require_paths
from workers.repository.protocols import IndexedPackage

if TYPE_CHECKING:
    from config.models import Target
    from workers.results import Artifact


def is_debug_file(name: str) -> bool:
    """Whether a package of that file name has debug data or sources alone."""
    return is_debug(nevra_of_file(name).name)


def is_installed(name: str) -> bool:
    """Whether users install a package of that file name: neither a source package nor debuginfo."""
    return not name.endswith(".src.rpm") and not is_debug_file(name)


def nevra_of_file(name: str) -> Nevra:
    """NEVRA of a file name that build.json gives.

    :raises CannotRun: when it is not of the form name-version-release.arch.rpm.
    """
    try:
        return Nevra.from_file(name)
    except ValueError as error:
        raise CannotRun(f"build.json: {error}", "build the package again") from None


def nevra_of(package: IndexedPackage) -> Nevra:
    """NEVRA in a package's header; ``src`` is the architecture of a source package."""
    return Nevra(package.name, int(package.epoch or 0), package.version, package.release, package.arch)


def source_of(package: IndexedPackage) -> str:
    """Name of the source package a binary package was made from; its own where it does not say.

    :raises CannotRun: when what it says is no source package.
    """
    source: str | None = package.rpm_sourcerpm
    try:
        return Nevra.from_file(source).name if source else str(package.name)
    except ValueError:
        what = f"{package.name} says it was made from {ascii(source)[:200]}, which is no source package"
        raise CannotRun(what, "build it again") from None


def check(package: IndexedPackage, artifact: Artifact, target: Target) -> Nevra:
    """Hold a package against build.json and the target; its NEVRA if all agree.

    :raises CannotRun: when its checksum, its file name or its architecture is another one.
    """
    if package.pkgId != artifact.sha256:
        raise CannotRun(
            f"{artifact.name} is not what build.json says: SHA-256 {package.pkgId}, expected {artifact.sha256}",
            "the artifact was changed or cut short; build it again",
        )
    return check_header(package, artifact.name, target)


def check_header(package: IndexedPackage, file: str, target: Target) -> Nevra:
    """Hold a package's header against its file name and the target; its NEVRA if all agree.

    :raises CannotRun: when they differ, or a path in it leads elsewhere.
    """
    source = file.endswith(".src.rpm")
    # The header of a source package carries the architecture it was made on: only its file name says "src".
    nevra = nevra_of(package)
    if source:
        nevra = Nevra(nevra.name, nevra.epoch, nevra.version, nevra.release, "src")
    if nevra.file != file:
        raise CannotRun(
            f"{file} holds another package: {nevra}", "build it again; a file name must be the package's NEVRA"
        )
    require_paths(file, [f"{folder}{name}" for _, folder, name, *_ in package.files], source=source)
    if not source and nevra.arch not in (target.rpm_arch, "noarch"):
        raise CannotRun(
            f"{file} is of architecture {nevra.arch}, and target {target.name} takes {target.rpm_arch} and noarch",
            "give the build of this target",
        )
    return nevra
