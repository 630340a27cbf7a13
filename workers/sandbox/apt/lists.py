"""The signed lists of a suite for one architecture, as the mirror served them at several times under several names.

Each set of lists is a private root. Its name is the hash of its signed Release. It appears by one rename and never
changes, so a command that reads one set is not disturbed by another that downloads the next.
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
"""Days for which old lists may be used after their Valid-Until or, without that, after the mirror last had them."""

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
        # Each pair of mirror and keys has its own lists, so commands with different ones do not disturb each other.
        place = hashlib.sha256(f"{self.mirror}\n{keyring()}".encode()).hexdigest()[:8]
        self.folder = cache.root() / "apt" / f"{suite}-{architecture}{'-sources' if sources else ''}" / place
        self._preferred = self.folder / "preferred"

    @property
    def names(self) -> tuple[str, ...]:
        """Return the suite's name, then those that may be other names of its release."""
        _, dash, part = self.suite.partition("-")  # trixie-security: stable-security
        return tuple(dict.fromkeys((self.suite, *(f"{alias}{dash}{part}" for alias in _ALIASES))))

    def usual(self) -> AptRoot | None:
        """Return the lists that worked last, else those of the suite's own name; None if they are older than a day."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            chosen = json.loads(self._preferred.read_text())
            if 0 < float(chosen["until"]) - time.time() <= _DAY and (root := self._root(str(chosen["lists"]))):
                return root
        return self._confirmed(self.suite, time.time() - _DAY)

    def prefer(self, root: AptRoot, seconds: float = _DAY) -> None:
        """Make ``root`` the usual lists for some seconds."""
        _replace(self._preferred, json.dumps({"lists": root.folder.name, "until": time.time() + seconds}))

    def update(self, name: str, since: float) -> AptRoot:
        """Return the lists that the mirror has under a name; those it had at ``since`` or later are new enough.

        :raises MirrorDisagrees: if the lists are not complete, or are of another release.
        :raises CannotRun: if the network or a valid signature is missing.
        """
        with cache.hold_lock(self.folder / ".lock"):
            if root := self._confirmed(name, since):
                return root
            self._sweep()
            new = Path(tempfile.mkdtemp(prefix="new-", dir=self.folder))
            try:
                return self._fetch(name, AptRoot(new, self.suite, self.architecture))
            finally:
                shutil.rmtree(new, ignore_errors=True)

    def newest_first(self) -> Iterator[AptRoot]:
        """Yield all lists that this host has, the latest confirmed first."""
        roots = [root for path in self.folder.glob("lists-*") if (root := self._root(path.name))]
        yield from sorted(roots, key=confirmed_at, reverse=True)

    def _fetch(self, name: str, root: AptRoot) -> AptRoot:
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
            for path in root.folder.glob("*.bin"):  # apt's caches have the name of the folder they were made in
                path.unlink()
            root.furnish(name, sources=self._sources, final=final.folder)
            (root.folder / "confirmed").touch()
            root.folder.rename(final.folder)
        (final.folder / "confirmed").touch()
        _replace(self.folder / f"name-{name}", final.folder.name)
        return final

    def _update(self, root: AptRoot, *options: str) -> None:
        # A name such as "stable" moves from one release to the next. We check the release, not apt.
        arguments = ("update", "--error-on=any", "--allow-releaseinfo-change")
        root.apt("apt-get", *arguments, *options, timeout=_UPDATE_TIMEOUT)

    def _final(self, root: AptRoot) -> AptRoot:
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in _release_files(root))).hexdigest()
        return AptRoot(self.folder / f"lists-{digest[:16]}", self.suite, self.architecture)

    def _check_release(self, root: AptRoot) -> None:
        """Check that the Release, whose signature apt has verified, is of our suite: a name may be of another one."""
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
        """Return the lists that the mirror had under a name, if that was at ``since`` or later."""
        file = self.folder / f"name-{name}"
        with contextlib.suppress(FileNotFoundError):
            if since <= file.stat().st_mtime <= time.time() + 60:
                return self._root(file.read_text())
        return None

    def _sweep(self) -> None:
        """Remove leftovers of killed commands and the oldest lists; no command works with the same lists for a day."""
        for path in self.folder.glob("new-*"):
            shutil.rmtree(path, ignore_errors=True)
        for root in [*self.newest_first()][_KEPT:]:
            if time.time() - max(confirmed_at(root), _time(root.folder / "used")) > _DAY:
                shutil.rmtree(root.folder, ignore_errors=True)


def confirmed_at(root: AptRoot) -> float:
    """Return when the mirror last had these lists, in seconds since 1970."""
    return _time(root.folder / "confirmed")


def release(root: AptRoot) -> Mapping[str, str]:
    """Return the fields of the lists' Release, whose signature apt has verified."""
    for path in _release_files(root):
        text = path.read_text(errors="replace")
        if text.startswith("-----BEGIN PGP SIGNED MESSAGE-----"):
            text = re.split(r"\n\s*\n", text, maxsplit=1)[-1]  # the armour's headers are not signed (RFC 9580, 7.1)
        return next(paragraphs(text), {})
    return {}


def last_day(root: AptRoot) -> datetime:
    """Return the time until which old lists may be used (``STALE_DAYS``); $KITTEN_MIRROR_STALE_DAYS overrides it."""
    days = whole_number("KITTEN_MIRROR_STALE_DAYS", STALE_DAYS)
    since = valid_until(root) or datetime.fromtimestamp(confirmed_at(root), UTC)
    return datetime.fromtimestamp(since.timestamp() + days * _DAY, UTC)


def valid_until(root: AptRoot) -> datetime | None:
    """Return Valid-Until of the lists, if any: testing and the security suites have it, Debian's main suites do not."""
    try:
        until = parsedate_to_datetime(release(root)["Valid-Until"])
    except (KeyError, ValueError):
        return None
    return until if until.tzinfo else until.replace(tzinfo=UTC)


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
