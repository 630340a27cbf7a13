"""The door: what a package file from another machine must be before a library of C reads it, or a key signs it.

A build's packages come from workers that run what anybody's spec says. Here a file is looked at as bytes, a few hundred
of them: is it a package at all, are its headers of a sensible size, has somebody signed it already. What its header
then says is judged in :mod:`workers.repository.packages`.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from config.text import CONTROLS, NOT_XML
from workers.base.errors import CannotRun

MAX_HEADER = 64 << 20
"""Bytes of one header. rpm took no header beyond 32 MiB for twenty years and takes 256 MiB since 4.14; the largest in
distributions (a hundred thousand files) have a quarter of this. Reading one takes several times its size of memory."""
MAX_ENTRIES = 0xFFFF
"""Entries of a header: as many as rpm reads."""

_LEAD = 96  # bytes, and its magic; rpm's docs, manual/format.md
_LEAD_MAGIC, _HEADER_MAGIC = b"\xed\xab\xee\xdb", b"\x8e\xad\xe8\x01"
_SIGNATURES = frozenset({267, 268, 278, 1002, 1003, 1005, 1006})
"""Tags of OpenPGP signatures in a signature header: DSA, RSA, OpenPGP (rpm 6), PGP, LE PGP, GPG, PGP5."""
_UNWRITABLE = re.compile(f"[{CONTROLS}{NOT_XML}]")
"""Characters that no path may have: controls, and what XML 1.0 cannot carry. An index with one is read by nobody."""
_FIX = "build it again; if it stays so, look at the worker it comes from"


@dataclass(frozen=True)
class _Header:
    """One of a package's two headers, as its first bytes tell it."""

    start: int
    entries: int
    data: int

    @property
    def end(self) -> int:
        return self.start + 16 + 16 * self.entries + self.data


def look(path: Path) -> None:
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
    if file.read(_LEAD)[:4] != _LEAD_MAGIC:
        raise CannotRun(f"{name} is not a readable RPM package: it does not begin as one", _FIX)
    signature = _header(name, "signature header", file, _LEAD, size)
    entries = file.read(16 * signature.entries)
    tags = {struct.unpack_from(">I", entries, at)[0] for at in range(0, len(entries), 16)}
    if tags & _SIGNATURES:
        raise CannotRun(
            f"{name} carries a signature already, and no worker that builds holds a key",
            "give the package as it was built: the publishing worker signs it",
        )
    _header(name, "header", file, signature.end + -signature.end % 8, size)


def _header(name: str, what: str, file: IO[bytes], start: int, size: int) -> _Header:
    file.seek(start)
    first = file.read(16)
    if len(first) < 16 or first[:4] != _HEADER_MAGIC:
        raise CannotRun(f"{name} is not a readable RPM package: where its {what} should be is none", _FIX)
    header = _Header(start, *struct.unpack(">II", first[8:]))
    if header.entries > MAX_ENTRIES or header.data > MAX_HEADER:
        claims = f"{header.entries} entries and {header.data >> 20} MiB"
        raise CannotRun(
            f"the {what} of {name} claims {claims}; at most {MAX_ENTRIES} and {MAX_HEADER >> 20} MiB are read", _FIX
        )
    if header.end > size:
        raise CannotRun(f"{name} is cut short: its {what} ends after {header.end} bytes, the file after {size}", _FIX)
    return header


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
