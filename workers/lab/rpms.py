"""Package files under test: their headers and their files, or one line about what is wrong with them."""

from __future__ import annotations

from pathlib import Path

from config.models import Target
from workers.base.errors import CannotRun, MalformedError
from workers.formats.rpm_file import header_of
from workers.formats.rpm_header import RpmHeader
from workers.formats.rpm_payload import Entry, unpack

_MAX_PAYLOAD = 1024**3  # bytes one package may unpack to in a guest
_MEND = "build the package again"


def header_for(target: Target, path: Path) -> RpmHeader:
    """The header of a package for the target; of a source package as well.

    :raises CannotRun: also for another architecture's.
    """
    found = header_of(path)
    if found.arch not in (target.rpm_arch, "noarch", "src"):
        raise CannotRun(f"{path.name} is for {found.arch}, not {target.rpm_arch}", "give the package's own --target")
    return found


def unpack_package(path: Path, of: RpmHeader, scratch: Path, limit: int = _MAX_PAYLOAD) -> tuple[Entry, ...]:
    """The files of a package, unpacked below ``scratch``.

    :param limit: bytes.
    :raises CannotRun: when it is damaged, or holds more.
    """
    try:
        return unpack(path, of, scratch, limit)
    except MalformedError as error:
        raise CannotRun(f"{path.name}: {error}", _MEND) from None
