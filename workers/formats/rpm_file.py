"""The door: what a package file from another machine must be before a library of C reads it, or a key signs it.

A build's packages come from workers that run what anybody's spec says. Here a file is looked at as bytes, a few hundred
of them: is it a package at all, are its headers of a sensible size, has somebody signed it already. What its header
then says is judged in :mod:`workers.repository.packages`.
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
"""Characters that no path may have: controls, and what XML 1.0 cannot carry. An index with one is read by nobody."""
_FIX = "build it again; if it stays so, look at the worker it comes from"


def header_of(path: Path) -> RpmHeader:
    """The header of a package.

    :raises CannotRun: in one line that names the file, when it is not there or no readable package.
    """
    try:
        return read_header(path)
    except (MalformedError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CannotRun(f"{repr(path.name)[1:-1]} is not a readable RPM package: {why}", _FIX) from None


def require_unsigned_package(path: Path) -> None:
    """See that a file may be read as a package that was built and not yet signed.

    Takes a few hundred bytes of memory and never waits: no link is followed, no pipe read.

    :raises CannotRun: in one line that names the file.
    """
    name = repr(path.name)[1:-1]
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CannotRun(f"{name} is no plain file", _FIX)
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
            f"{name} carries a signature already, and no worker that builds holds a key",
            "give the package as it was built: the publishing worker signs it",
        )


def require_paths(name: str, paths: list[str], *, source: bool) -> None:
    """See that a package's files lie where their paths say, in words that an index can carry.

    :param source: of a source package, whose files are plain names without a folder.
    :raises CannotRun: naming the package and the first path that does not.
    """
    for path in paths:
        parts = path.split("/") if source else path.split("/")[1:]
        if _UNWRITABLE.search(path):
            why = "which has a control character"
        elif source and len(parts) > 1:
            why = "and a source package holds plain files, without folders"
        elif not source and not path.startswith("/"):
            why = "which is not absolute"
        elif any(part in ("", ".", "..") for part in parts) and path != "/":
            why = "which leads elsewhere"
        else:
            continue
        raise CannotRun(f"{name} has a file {path[:200]!a}, {why}", "mend %files in its spec, then build it again")
