"""First checks of a package file from another machine, before a C library reads it or a key signs it.

Packages come from workers that run the commands of any spec. These checks read a few hundred bytes: is the file a
package, do its headers have a sensible size, is it already signed? :mod:`workers.repository.packages` judges what its
header says.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import IO

from config.text import CONTROLS, NOT_XML
from workers.base.errors import CannotRun, MalformedError
from workers.formats.rpm_header import RpmHeader, read_header
from workers.formats.rpm_sections import numbers_of, sections

_SIGNATURES = frozenset({267, 268, 278, 1002, 1003, 1005, 1006})
"""Tags of OpenPGP signatures in a signature header: DSA, RSA, OpenPGP (rpm 6), PGP, LE PGP, GPG, PGP5."""
_UNWRITABLE = re.compile(f"[{CONTROLS}{NOT_XML}]")
"""Characters that no path may have: controls, and those that XML 1.0 forbids. No client reads an index with one."""
_FIX = "build it again; if it fails again, check the worker that built it"


def header_of(path: Path) -> RpmHeader:
    """Return the header of a package.

    :raises CannotRun: the file is missing or not a readable package; in one line that names it.
    """
    try:
        return read_header(path)
    except (MalformedError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CannotRun(f"{repr(path.name)[1:-1]} is not a readable RPM package: {why}", _FIX) from None


def require_unsigned_package(path: Path) -> None:
    """Check that a file is a package that is not signed yet.

    The check takes a few hundred bytes of memory and never waits: it follows no link and reads no pipe.

    :raises CannotRun: it is not; in one line that names the file.
    """
    name = repr(path.name)[1:-1]
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CannotRun(f"{name} is not a regular file", _FIX)
            _require_headers(name, file, status.st_size)
    except OSError as error:
        link = path.is_symlink()
        what = f"{name} is a symbolic link, not a package" if link else f"cannot read {name}: {error.strerror}"
        raise CannotRun(what, _FIX) from None


def _require_headers(name: str, file: IO[bytes], size: int) -> None:
    try:
        signature, _ = sections(file, size)
    except MalformedError as error:
        raise CannotRun(f"{name} is not a readable RPM package: {error}", _FIX) from None
    if numbers_of(file, signature) & _SIGNATURES:
        raise CannotRun(
            f"{name} is already signed, but workers that build have no key",
            "give the package as it was built; the publishing worker signs it",
        )


def require_paths(name: str, paths: list[str], *, source: bool) -> None:
    """Check that the paths of a package's files are absolute, lead nowhere else, and can be written into an index.

    :param source: a source package, whose files have names without folders.
    :raises CannotRun: a path is wrong; names the package and the first such path.
    """
    for path in paths:
        parts = path.split("/") if source else path.split("/")[1:]
        if _UNWRITABLE.search(path):
            why = "which has a control character"
        elif source and len(parts) > 1:
            why = "but files of a source package have no folders"
        elif not source and not path.startswith("/"):
            why = "which is not absolute"
        elif any(part in ("", ".", "..") for part in parts) and path != "/":
            why = "which leads elsewhere"
        else:
            continue
        raise CannotRun(f"{name} has a file {path[:200]!a}, {why}", "fix %files in its spec, then build it again")
