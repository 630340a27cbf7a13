"""Check a package's header against its file name, build.json and its target."""

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
    """Return whether a package of that file name has only debug data or debug sources."""
    return is_debug(nevra_of_file(name).name)


def is_installed(name: str) -> bool:
    """Return whether users install a package of that file name: neither a source package nor debuginfo."""
    return not name.endswith(".src.rpm") and not is_debug_file(name)


def nevra_of_file(name: str) -> Nevra:
    """The NEVRA of a file name in build.json.

    :raises CannotRun: if its form is not name-version-release.arch.rpm.
    """
    try:
        return Nevra.from_file(name)
    except ValueError as error:
        raise CannotRun(f"build.json: {error}", "build the package again") from None


def nevra_of(package: IndexedPackage) -> Nevra:
    """The NEVRA in a package's header; the architecture of a source package is ``src``."""
    return Nevra(package.name, int(package.epoch or 0), package.version, package.release, package.arch)


def source_of(package: IndexedPackage) -> str:
    """Name of the source package that a binary package was made from; if its header has none, its own name.

    :raises CannotRun: if the header names something else than a source package.
    """
    source: str | None = package.rpm_sourcerpm
    try:
        return Nevra.from_file(source).name if source else str(package.name)
    except ValueError:
        what = f"the header of {package.name} names {ascii(source)[:200]} as its source package, which is none"
        raise CannotRun(what, "build it again") from None


def check(package: IndexedPackage, artifact: Artifact, target: Target) -> Nevra:
    """Check a package against build.json and the target, and return its NEVRA.

    :raises CannotRun: if its checksum, file name or architecture differs.
    """
    if package.pkgId != artifact.sha256:
        raise CannotRun(
            f"{artifact.name} is not what build.json says: SHA-256 {package.pkgId}, expected {artifact.sha256}",
            "the artifact was changed or cut short; build it again",
        )
    return check_header(package, artifact.name, target)


def check_header(package: IndexedPackage, file: str, target: Target) -> Nevra:
    """Check a package's header against its file name and the target, and return its NEVRA.

    :raises CannotRun: if they differ, or a path in the header leads outside its folder.
    """
    source = file.endswith(".src.rpm")
    # The header of a source package has the architecture of the host that made it: only its file name has "src".
    nevra = nevra_of(package)
    if source:
        nevra = Nevra(nevra.name, nevra.epoch, nevra.version, nevra.release, "src")
    if nevra.file != file:
        raise CannotRun(
            f"{file} has another package: {nevra}", "build it again; a file name must be the package's NEVRA"
        )
    require_paths(file, [f"{folder}{name}" for _, folder, name, *_ in package.files], source=source)
    if not source and nevra.arch not in (target.rpm_arch, "noarch"):
        raise CannotRun(
            f"{file} has architecture {nevra.arch}; target {target.name} expects {target.rpm_arch} or noarch",
            "pass the build of this target",
        )
    return nevra
