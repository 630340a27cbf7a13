"""The changelog of a package, and the entries that are new for users of the previous version. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.nevra import Nevra

if TYPE_CHECKING:
    from workers.repository.protocols import IndexedPackage

# Both parts need a digit: a surname with a hyphen is not a version.
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
        """The version of the entry, if its first line names one."""
        match = _ENTRY_EVR.search(self.author[-200:])
        try:
            return Nevra.parse(f"x-{match['evr']}.src") if match else None
        except ValueError:
            return None


def changelog(package: IndexedPackage) -> tuple[Entry, ...]:
    """Return the entries of a package that ``createrepo_c`` read, newest first.

    :param package: from :func:`workers.repository.index.describe` or :func:`workers.repository.index.package_of`.
    """
    entries: Sequence[tuple[str, int, str]] = package.changelogs
    # In a package file the oldest entry is first; in an index it may not be. createrepo_c moves entries of one day a
    # second apart, so their times give the order.
    found = (Entry(author or "", int(time), text or "") for author, time, text in entries)
    return tuple(sorted(found, key=lambda entry: entry.time, reverse=True))


def newer_entries(old: Sequence[Entry], new: Sequence[Entry], old_evr: str) -> tuple[Entry, ...]:
    """Return the entries of ``new``, newest first, that are new for users of ``old``.

    They end at the first entry that is the same in ``old``. A changelog may be rewritten, or an index may have only its
    newest entries; so entries for versions that are not newer than ``old_evr`` are left out too.

    :param old_evr: ``[epoch:]version-release`` of the source package that users have.
    """
    known, fresh = {_entry_key(entry) for entry in old}, []
    has = Nevra.parse(f"x-{old_evr}.src")
    for entry in new:
        if _entry_key(entry) in known:
            break
        # Many entries leave out the epoch: only version and release are compared.
        if (evr := entry.evr) is None or evr.evr_key[1:] > has.evr_key[1:] or evr.epoch > has.epoch:
            fresh.append(entry)
    return tuple(fresh)


def _entry_key(entry: Entry) -> tuple[str, int, str]:
    """Return an entry's author, day and text. Its second is left out: it depends on the other entries of that read."""
    return entry.author, entry.time // 86_400, entry.text
