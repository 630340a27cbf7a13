"""A signed stage at object storage: the local folder is the authority, and what it publishes is pushed to a bucket.

An object store has no rename over many objects, so a push appends and then switches, repository by repository:

1. The mark (:mod:`workers.mirrors.mark`) is claimed: from now on another publisher is refused.
2. Packages the bucket lacks are uploaded, then metadata, whose names hold their checksums: nobody sees either yet.
3. Per repository, in the order given (providers before consumers): ``repomd.xml``, which is the switch, and its
   signature, both at once over two connections. What lies between is the difference of two arrivals, not a round
   trip. A reader that meets it holds a pair that does not fit: nothing wrong is accepted, and dnf fetches the keys and
   both files once more. One that is not taken (5xx, lost connection) takes the other one back.
4. The mark is written as committed, with the number and the checksum of each ``repomd.xml``.
5. What no repository has named for long enough is deleted.

Whatever is killed or cut off leaves each repository at its old or its new index, with everything that index names; one
whose signature had not arrived yet is refused by clients until then.
The same call again ends the work, as does the push of any later publication; a rollback is a publication too.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from workers.base import cache
from workers.base.errors import CannotRun
from workers.mirrors.bucket import Bucket, in_parallel
from workers.mirrors.mark import MARK, BucketMark
from workers.mirrors.publication import Claim, File, Index, Mark, Publication, Pushed, Repository
from workers.repository.draft import STEADY

KEPT = 24 * 3600.0
"""Seconds an object stays after the last index forgot it. Mirrors synchronise every 3 hours."""
_KINDS = {
    ".rpm": "application/x-rpm",
    ".xml": "application/xml",
    ".asc": "application/pgp-signature",
    ".gz": "application/gzip",
    ".zst": "application/zstd",
    ".xz": "application/x-xz",
    ".bz2": "application/x-bzip2",
    ".json": "application/json",
    ".sqlite": "application/vnd.sqlite3",
}


def publisher_of(stage: Path) -> str:
    """Who publishes from a local stage folder: a random word kept in it, and this host's name.

    A copy of the folder on another host is another publisher: it would push a history of its own.
    """
    file = stage / ".publisher"
    with cache.hold_lock(stage / ".publisher.lock"):
        if not file.is_file():
            fresh = file.with_name(".publisher.next")
            fresh.write_text(secrets.token_hex(8), encoding="ascii")
            fresh.replace(file)
    return f"{file.read_text(encoding='ascii').strip()}@{socket.gethostname()}"


def push(
    publication: Publication,
    url: str,
    *,
    keep: float = KEPT,
    take_over: bool = False,
    verify: bool = False,
    now: Callable[[], float] = time.time,
    attempts: int | None = None,
) -> Pushed:
    """Bring a bucket to a publication, or end what an earlier push began.

    :param keep: seconds an object stays after the last index forgot it.
    :param take_over: push although another publisher, or a later publication, was there: after a machine was replaced.
    :param verify: look at every object, not only at those that are new since the last push, and collect strays.
    :param attempts: tries of each request; by default :data:`workers.mirrors.bucket.ATTEMPTS`.
    :raises CannotRun: no bucket, no network, wrong credentials, another publisher. Each repository is whole then.
    """
    bucket = Bucket(url, **({} if attempts is None else {"attempts": attempts}))
    lock = cache.root() / "locks" / f"push-{publication.publisher.partition('@')[0]}"
    with cache.hold_lock(lock):  # a second push from this host waits; one from elsewhere is refused by the mark
        return _Push(bucket, publication, keep, now, verify or take_over).run(take_over)


class _Push:
    """One run of :func:`push`."""

    def __init__(
        self,
        bucket: Bucket,
        publication: Publication,
        keep: float,
        now: Callable[[], float],
        verify: bool,
    ) -> None:
        self._bucket, self._new = bucket, publication
        self._local = publication.indexes()
        self._keep, self._now, self._verify = keep, now, verify
        self._metadata = {name: file for index in self._local.values() for name, file in index.metadata.items()}
        self._uploaded: list[int] = []
        self._switched: list[str] = []

    def run(self, take_over: bool) -> Pushed:
        mark = BucketMark(self._bucket, self._new)
        old = mark.found
        shown = {name: index.sha256 for name, index in self._local.items()}
        if not take_over:
            mark.require_ours(shown)
        if mark.arrived(shown) and not self._verify:
            return Pushed(old.number, 0, 0, (), self._collect(old, mark))
        claim = mark.claim(self._metadata)
        self._upload(old)
        mark.still_ours()
        repositories = {name: self._shown(name, index, old) for name, index in self._local.items()}
        committed = Mark(
            number=self._new.number,
            made=self._new.made,
            publisher=self._new.publisher,
            repositories=repositories,
            retired=self._retired(old, claim),
        )
        mark.still_ours()
        mark.write(committed)
        deleted = self._collect(committed, mark)
        return Pushed(self._new.number, len(self._uploaded), sum(self._uploaded), tuple(self._switched), deleted)

    def _shown(self, name: str, index: Index, old: Mark) -> Repository:
        """Show a repository's index, not before the one there was shown for a while; what the mark says of it then."""
        before = old.repositories.get(name)
        since = before.since if before else 0.0
        if before is None or before.repomd_sha256 != index.sha256:
            time.sleep(min(STEADY, max(0.0, since + STEADY - time.time())))
            since = time.time()
        if self._switch(name, index):
            self._switched.append(name)
        return Repository(repomd_sha256=index.sha256, metadata=tuple(index.metadata), since=since)

    def _upload(self, old: Mark) -> None:
        """Everything the new indexes name: packages first. What was committed before is known to be there."""
        packages = {
            name: file
            for name, file in self._new.files.items()
            if self._verify or file.since > old.number or name in old.retired
        }
        in_parallel(lambda item: self._bring(*item), packages.items())
        in_parallel(lambda item: self._bring(*item), self._metadata.items())

    def _bring(self, name: str, file: File) -> None:
        if self._bucket.checksum(name) != file.sha256:
            self._bucket.upload(name, file.local, file.sha256, _kind(name))
            self._uploaded.append(file.local.stat().st_size)

    def _switch(self, repository: str, index: Index) -> bool:
        """Show a repository's new index; False when the bucket shows it already."""
        place = f"{repository}/repodata/repomd.xml"
        wanted = {place: index.repomd}
        if index.signature is not None:
            wanted[f"{place}.asc"] = index.signature
        before = self._read(wanted)
        news = {name: content for name, content in wanted.items() if before[name] != content}
        try:
            in_parallel(lambda item: self._bucket.put(*item, _kind(item[0])), news.items())
        except CannotRun:
            self._take_back(wanted, before)
            raise
        return place in news

    def _take_back(self, wanted: Mapping[str, bytes], before: Mapping[str, bytes | None]) -> None:
        """Show index and signature of before again, where the server lets us and they did not both arrive."""
        with contextlib.suppress(CannotRun):
            if (there := self._read(wanted)) != wanted:
                back = {name: content for name, content in before.items() if content and there[name] != content}
                in_parallel(lambda item: self._bucket.put(*item, _kind(item[0])), back.items())

    def _read(self, names: Iterable[str]) -> dict[str, bytes | None]:
        found: dict[str, bytes | None] = dict.fromkeys(names)

        def read(name: str) -> None:
            stored = self._bucket.read(name)
            found[name] = stored.content if stored else None

        in_parallel(read, list(found))
        return found

    def _named(self) -> set[str]:
        heads = {f"{name}/repodata/repomd.xml{end}" for name in self._local for end in ("", ".asc")}
        return {*self._new.files, *self._metadata, *heads, MARK}

    def _retired(self, old: Mark, claim: Claim) -> dict[str, float]:
        """What no index names any more. Its time begins when the bucket's indexes forgot it, not the local ones."""
        named, now = self._named(), self._now()
        gone = {name for name in old.repositories if name not in self._local}
        left = {name for repository in old.repositories.values() for name in repository.metadata}
        left |= {*claim.metadata, *self._new.retired}
        left |= {f"{name}/repodata/repomd.xml{end}" for name in gone for end in ("", ".asc")}
        if self._verify:
            # Only below repositories: what else lies in the bucket is not ours to remove.
            ours = tuple(f"{name}/" for name in (*self._local, *old.repositories))
            left |= {name for name in self._bucket.names() if name.startswith(ours)}
        return {name: old.retired.get(name, now) for name in sorted((left | set(old.retired)) - named)}

    def _collect(self, mark: Mark, written: BucketMark) -> int:
        """Delete what nobody can be reading any more; only then forget it, so that a kill loses nothing."""
        named, due = self._named(), self._now() - self._keep
        dead = [name for name, since in mark.retired.items() if since <= due and name not in named]
        if not dead:
            return 0
        # Indexes before what they name: an index that is there has all of it.
        heads = [name for name in dead if "/repodata/" in name]
        self._bucket.delete(heads)
        self._bucket.delete([name for name in dead if name not in set(heads)])
        staying = {name: since for name, since in mark.retired.items() if name not in set(dead)}
        written.write(mark.model_copy(update={"retired": staying}))
        return len(dead)


def _kind(name: str) -> str:
    return _KINDS.get(Path(name).suffix, "application/octet-stream")
