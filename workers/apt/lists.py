"""The signed lists of a suite for one architecture, as the mirror served them at several times and under several names.

Each set of lists is a private root, named by the hash of its signed Release. It appears by one rename and does not change
afterwards, so a runner that reads one is never disturbed by another that fetches the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from workers import cache
from workers.apt.host import keyring, mirror, paragraphs, whole_number
from workers.apt.root import AptRoot, MirrorDisagrees
from workers.errors import CannotRun

STALE_DAYS = 14
"""Lists serve that many days beyond their Valid-Until, or, if they have none, after the mirror last confirmed them."""

_DAY = 24 * 3600
_KEPT = 3  # sets of lists, besides those in use
_ALIASES = ("stable", "oldstable", "oldoldstable", "testing")
_UPDATE_TIMEOUT = 600.0


class Lists:
    """All lists that this host keeps of a suite for one architecture."""

    def __init__(self, suite: str, architecture: str, *, sources: bool) -> None:
        self.suite = suite
        self.architecture = architecture
        self.mirror = mirror()
        self._sources = sources
        # A mirror with its keys has lists of its own, so that two runners with different ones do not meet.
        place = hashlib.sha256(f"{self.mirror}\n{keyring()}".encode()).hexdigest()[:8]
        self.folder = cache.root() / "apt" / f"{suite}-{architecture}{'-sources' if sources else ''}" / place
        self._preferred = self.folder / "preferred"

    @property
    def names(self) -> tuple[str, ...]:
        """The suite's own name, then those that may be other names of its release."""
        _, dash, part = self.suite.partition("-")  # trixie-security: stable-security
        return tuple(dict.fromkeys((self.suite, *(f"{alias}{dash}{part}" for alias in _ALIASES))))

    def usual(self) -> AptRoot | None:
        """The lists that served last, or else those of the suite's own name, if they are not older than a day."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            chosen = json.loads(self._preferred.read_text())
            if 0 < float(chosen["until"]) - time.time() <= _DAY and (root := self._root(str(chosen["lists"]))):
                return root
        return self._confirmed(self.suite, time.time() - _DAY)

    def prefer(self, root: AptRoot, seconds: float = _DAY) -> None:
        """Make ``root`` the usual lists for a while."""
        _replace(self._preferred, json.dumps({"lists": root.folder.name, "until": time.time() + seconds}))

    def updated(self, name: str, since: float) -> AptRoot:
        """The lists that the mirror serves under a name now, or at any time since ``since``.

        :raises MirrorDisagrees: if they are not whole, or are of another release.
        :raises CannotRun: no network, no valid signature.
        """
        with cache.locked(self.folder / ".lock"):
            if root := self._confirmed(name, since):
                return root
            self._sweep()
            new = Path(tempfile.mkdtemp(prefix="new-", dir=self.folder))
            try:
                return self._fetched(name, AptRoot(new, self.suite, self.architecture))
            finally:
                shutil.rmtree(new, ignore_errors=True)

    def kept(self) -> Iterator[AptRoot]:
        """All lists that this host still has, the latest confirmed first."""
        roots = [root for path in self.folder.glob("lists-*") if (root := self._root(path.name))]
        yield from sorted(roots, key=confirmed, reverse=True)

    def _fetched(self, name: str, root: AptRoot) -> AptRoot:
        root.furnish(name, sources=self._sources)
        if before := self._confirmed(name, 0):  # what did not change is not fetched again
            for path in before.lists:
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy2(path, root.folder / "lists" / path.name)
        # Names move from one release to the next; whether this one fits is checked below.
        words = ("update", "--error-on=any", "--allow-releaseinfo-change")
        root.apt("apt-get", *words, timeout=_UPDATE_TIMEOUT)
        self._check_release(root)
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in _release_files(root))).hexdigest()
        final = AptRoot(self.folder / f"lists-{digest[:16]}", self.suite, self.architecture)
        if not final.folder.is_dir():
            for path in root.folder.glob("*.bin"):  # apt's caches of the lists name the folder they were made in
                path.unlink()
            root.furnish(name, sources=self._sources, final=final.folder)
            (root.folder / "confirmed").touch()
            root.folder.rename(final.folder)
        (final.folder / "confirmed").touch()
        _replace(self.folder / f"name-{name}", final.folder.name)
        return final

    def _check_release(self, root: AptRoot) -> None:
        """Compare the suite with what apt read in the signed Release: a name may be that of another release."""
        targets = root.apt("apt-get", "indextargets", "--format", "$(CODENAME) $(SUITE)").output
        found = {tuple(line.split()) for line in targets.splitlines() if line.strip()}
        if not found:
            raise CannotRun(
                f"{self.mirror} has no lists of {self.suite} for {self.architecture}",
                "check suite and architecture, or use another mirror: export KITTEN_DEBIAN_MIRROR=URL",
            )
        if other := next((words for words in found if self.suite not in words), None):
            raise MirrorDisagrees(f"the release signed there is {other[0] if other else 'nameless'}", passing=False)

    def _root(self, folder: str) -> AptRoot | None:
        path = self.folder / folder
        if not folder.startswith("lists-") or "/" in folder or not path.is_dir():
            return None
        return AptRoot(path, self.suite, self.architecture)

    def _confirmed(self, name: str, since: float) -> AptRoot | None:
        """The lists that the mirror served under a name, if that was after ``since``."""
        file = self.folder / f"name-{name}"
        with contextlib.suppress(FileNotFoundError):
            if since <= file.stat().st_mtime <= time.time() + 60:
                return self._root(file.read_text())
        return None

    def _sweep(self) -> None:
        """Remove what a killed runner left, and the oldest lists; nobody works with the same lists for a day."""
        for path in self.folder.glob("new-*"):
            shutil.rmtree(path, ignore_errors=True)
        for root in [*self.kept()][_KEPT:]:
            if time.time() - max(confirmed(root), _time(root.folder / "used")) > _DAY:
                shutil.rmtree(root.folder, ignore_errors=True)


def confirmed(root: AptRoot) -> float:
    """When the mirror served these lists last, in seconds since the epoch."""
    return _time(root.folder / "confirmed")


def release(root: AptRoot) -> dict[str, str]:
    """The fields of the lists' Release: what apt has verified."""
    for path in _release_files(root):
        for fields in paragraphs(path.read_text(errors="replace")):
            if "Codename" in fields or "Suite" in fields:
                return dict(fields)
    return {}


def last_day(root: AptRoot) -> datetime:
    """The end of the time in which kept lists serve: see ``STALE_DAYS``; $KITTEN_MIRROR_STALE_DAYS overrides it."""
    days = whole_number("KITTEN_MIRROR_STALE_DAYS", STALE_DAYS)
    since = valid_until(root) or datetime.fromtimestamp(confirmed(root), UTC)
    return datetime.fromtimestamp(since.timestamp() + days * _DAY, UTC)


def valid_until(root: AptRoot) -> datetime | None:
    """Valid-Until of the lists; Debian's main suites have none, testing and the security suites have one."""
    try:
        found = parsedate_to_datetime(release(root)["Valid-Until"])
    except (KeyError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _release_files(root: AptRoot) -> list[Path]:
    return [path for path in root.lists if path.name.endswith(("_InRelease", "_Release"))]


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)
