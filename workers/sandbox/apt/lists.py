"""The signed lists of a suite for one architecture, as the mirror served them at several times and under several names.

Each set of lists is a private root, named by the hash of its signed Release. It appears by one rename and does not change
afterwards, so a runner that reads one is never disturbed by another that fetches the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from workers.base import cache
from workers.base.errors import CannotRun
from workers.sandbox.apt.host import keyring, mirror, paragraphs, whole_number
from workers.sandbox.apt.root import AptRoot, MirrorDisagrees

STALE_DAYS = 14
"""Lists serve that many days beyond their Valid-Until, or, if they have none, after the mirror last confirmed them."""

_DAY = 24 * 3600
_KEPT = 3  # sets of lists, besides those in use
_ALIASES = ("stable", "oldstable", "oldoldstable", "testing")
_UPDATE_TIMEOUT = 600.0
_RELEASE_ONLY = tuple(
    f"-oAcquire::IndexTargets::{index}::DefaultEnabled=false" for index in ("deb::Packages", "deb-src::Sources")
)


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
        with cache.hold_lock(self.folder / ".lock"):
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
        self._update(root, *_RELEASE_ONLY)
        self._check_release(root)
        final = self._final(root)
        if not final.folder.is_dir():
            self._update(root)
            self._check_release(root)
            self._check_indexes(root)
            final = self._final(root)  # the mirror may have changed in between
        if not final.folder.is_dir():
            for path in root.folder.glob("*.bin"):  # apt's caches of the lists name the folder they were made in
                path.unlink()
            root.furnish(name, sources=self._sources, final=final.folder)
            (root.folder / "confirmed").touch()
            root.folder.rename(final.folder)
        (final.folder / "confirmed").touch()
        _replace(self.folder / f"name-{name}", final.folder.name)
        return final

    def _update(self, root: AptRoot, *options: str) -> None:
        # Names move from one release to the next; whether this one fits is checked here, not by apt.
        words = ("update", "--error-on=any", "--allow-releaseinfo-change")
        root.apt("apt-get", *words, *options, timeout=_UPDATE_TIMEOUT)

    def _final(self, root: AptRoot) -> AptRoot:
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in _release_files(root))).hexdigest()
        return AptRoot(self.folder / f"lists-{digest[:16]}", self.suite, self.architecture)

    def _check_release(self, root: AptRoot) -> None:
        """Compare the suite with the signed Release, which apt has verified: a name may be that of another release."""
        fields = release(root)
        names = [fields[key] for key in ("Codename", "Suite") if key in fields]
        if self.suite not in names:
            raise MirrorDisagrees(f"the release signed there is {names[0] if names else 'nameless'}", passing=False)

    def _check_indexes(self, root: AptRoot) -> None:
        if not any(re.search(r"_(Packages|Sources)(\.\w+)?$", path.name) for path in root.lists):
            raise CannotRun(
                f"{self.mirror} has no lists of {self.suite} for {self.architecture}",
                "check suite and architecture, or use another mirror: export KITTEN_DEBIAN_MIRROR=URL",
            )

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


def release(root: AptRoot) -> Mapping[str, str]:
    """The fields of the lists' Release, whose signature apt has verified."""
    for path in _release_files(root):
        text = path.read_text(errors="replace")
        if text.startswith("-----BEGIN PGP SIGNED MESSAGE-----"):
            text = re.split(r"\n\s*\n", text, maxsplit=1)[-1]  # the armour's headers are not signed (RFC 9580, 7.1)
        return next(paragraphs(text), {})
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
