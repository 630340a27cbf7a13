"""Headers and files of the packages under test. Each error is one line that names the package.

A module of its own, because suites and guests both use it.
"""

from __future__ import annotations

from pathlib import Path

from config.models import Target
from workers.base.errors import CannotRun, MalformedError
from workers.formats.rpm_file import header_of
from workers.formats.rpm_header import RpmHeader
from workers.formats.rpm_payload import Entry, unpack

_MAX_PAYLOAD = 1024**3  # bytes one package may unpack to in a guest


def header_for(target: Target, path: Path) -> RpmHeader:
    """Return the header of a package for the target, or of a source package.

    :raises CannotRun: if it cannot be read, or the package is for another architecture.
    """
    header = header_of(path)
    if header.arch not in (target.rpm_arch, "noarch", "src"):
        raise CannotRun(
            f"{path.name} is for {header.arch}, not {target.rpm_arch}", "give --target of that architecture"
        )
    return header


def unpack_package(path: Path, of: RpmHeader, scratch: Path, limit: int = _MAX_PAYLOAD) -> tuple[Entry, ...]:
    """Unpack a package below ``scratch`` and return its files.

    :param of: the header of the package.
    :param limit: the most bytes that the files may have.
    :raises CannotRun: if the package is damaged, or its files have more bytes.
    """
    try:
        return unpack(path, of, scratch, limit)
    except MalformedError as error:
        raise CannotRun(f"{path.name}: {error}", "build the package again") from None
