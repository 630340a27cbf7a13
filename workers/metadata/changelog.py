"""The changelog of a package, and which of its entries users of the version before have not had. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.nevra import Nevra

if TYPE_CHECKING:
    from workers.repository.protocols import IndexedPackage

# Both parts have a digit, else a double-barrelled surname would be a version.
_ENTRY_EVR = re.compile(r"(?:^|[\s-])(?P<evr>(?:\d{1,9}:)?(?=[^\s-]*\d)[^\s:<>-]+-(?=[^\s]*\d)[^\s:<>-]+)\s*$")


@dataclass(frozen=True)
class Entry:
    """One changelog entry of a package's header."""

    author: str
    """``NAME <ADDRESS> - [EPOCH:]VERSION-RELEASE``, as written in the spec."""
    time: int
    """Seconds since 1970; rpm knows the day only (noon, UTC)."""
    text: str

    @property
    def evr(self) -> Nevra | None:
        """The version the entry was written for, where its first line names one."""
        match = _ENTRY_EVR.search(self.author[-200:])
        try:
            return Nevra.parse(f"x-{match['evr']}.src") if match else None
        except ValueError:
            return None


def changelog(package: IndexedPackage) -> tuple[Entry, ...]:
    """The entries of a package that ``createrepo_c`` read, the newest first.

    :param package: of :func:`workers.repository.index.describe` or :func:`workers.repository.index.recalled`.
    """
    entries: Sequence[tuple[str, int, str]] = package.changelogs
    # A package file's entries come oldest first, an index's may not. createrepo_c moves entries of one day a second
    # apart, so that their times tell the order.
    found = (Entry(author or "", int(time), text or "") for author, time, text in entries)
    return tuple(sorted(found, key=lambda entry: entry.time, reverse=True))


def newer_entries(old: Sequence[Entry], new: Sequence[Entry], old_evr: str) -> tuple[Entry, ...]:
    """The entries of ``new``, the newest first, that users of ``old`` have not had.

    They end at the first entry that is in ``old`` word for word. Where a changelog was written anew and none is, or an
    index kept only the newest of them, an entry for a version that is not newer_entries than ``old_evr`` is left out too.

    :param old_evr: ``[epoch:]version-release`` of the source package users have.
    """
    known, fresh = {_entry_key(entry) for entry in old}, []
    has = Nevra.parse(f"x-{old_evr}.src")
    for entry in new:
        if _entry_key(entry) in known:
            break
        # An entry gives no epoch as often as it gives one: only version and release are compared.
        if (evr := entry.evr) is None or evr.evr_key[1:] > has.evr_key[1:] or evr.epoch > has.epoch:
            fresh.append(entry)
    return tuple(fresh)


def _entry_key(entry: Entry) -> tuple[str, int, str]:
    """An entry as written: of its time, the day, for the second depends on which others were read with it."""
    return entry.author, entry.time // 86_400, entry.text
