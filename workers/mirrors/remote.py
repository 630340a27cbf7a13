"""Push a publication to a bucket of object storage. The local folder of the signed stage is the original.

An object store cannot rename many objects at once, so a push first adds files and then switches the repositories:

1. It claims the mark (:mod:`workers.mirrors.mark`): from now on, other publishers are refused.
2. It uploads missing packages, then metadata, whose names contain their checksums. No index names these files yet.
3. For each repository, in the given order (providers before consumers), it writes ``repomd.xml``, which is the switch,
   and its signature at the same time over two connections. So the two differ only for a moment, not for a round trip.
   A client that reads in this moment gets a pair that does not fit: it accepts nothing wrong, and dnf downloads the
   keys and both files again. If the server refuses one of them (5xx, lost connection), the old pair is restored.
4. It writes the mark with the publication's number and the checksum of each ``repomd.xml``.
5. It deletes files that no repository has named for long enough.

If a push is killed or interrupted, each repository has its old or its new index, with all files of that index. If only
the signature is missing, clients refuse the index until it arrives.
The same command again finishes the push; so does the push of any later publication. A rollback is a publication, too.
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
"""Seconds that an object stays after no index names it any more. Mirrors synchronize every 3 hours."""
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
    """Return the publisher of a local stage folder: a random word that is stored in it, and this host's name.

    A copy of the folder on another host is another publisher, because it would push another history.
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
    """Bring a bucket to a publication; this also finishes an interrupted push.

    :param keep: seconds that an object stays after no index names it any more.
    :param take_over: push even if the bucket has another publisher or a later publication, after a machine was lost.
    :param verify: check every object, not only those that are new since the last push, and remove strays later.
    :param attempts: attempts for each request; by default :data:`workers.mirrors.bucket.ATTEMPTS`.
    :raises CannotRun: no bucket, no network, wrong credentials, another publisher. Each repository stays complete.
    """
    bucket = Bucket(url, **({} if attempts is None else {"attempts": attempts}))
    lock = cache.root() / "locks" / f"push-{publication.publisher.partition('@')[0]}"
    with cache.hold_lock(lock):  # a second push from this host waits; the mark refuses one from another host
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
        old = mark.before
        shown = {name: index.sha256 for name, index in self._local.items()}
        if not take_over:
            mark.require_ours(shown)
        if mark.shows(shown) and not self._verify:
            return Pushed(old.number, 0, 0, (), self._collect(old, mark))
        claim = mark.claim(self._metadata)
        self._upload(old)
        mark.require_claim()
        repositories = {name: self._show(name, index, old) for name, index in self._local.items()}
        committed = Mark(
            number=self._new.number,
            made=self._new.made,
            publisher=self._new.publisher,
            repositories=repositories,
            retired=self._retired_files(old, claim),
        )
        mark.require_claim()
        mark.write(committed)
        deleted = self._collect(committed, mark)
        return Pushed(self._new.number, len(self._uploaded), sum(self._uploaded), tuple(self._switched), deleted)

    def _show(self, name: str, index: Index, old: Mark) -> Repository:
        """Show a repository's index after the one before was shown long enough; return its entry for the mark."""
        before = old.repositories.get(name)
        since = before.since if before else 0.0
        if before is None or before.repomd_sha256 != index.sha256:
            time.sleep(min(STEADY, max(0.0, since + STEADY - time.time())))
            since = time.time()
        if self._switch(name, index):
            self._switched.append(name)
        return Repository(repomd_sha256=index.sha256, metadata=tuple(index.metadata), since=since)

    def _upload(self, old: Mark) -> None:
        """Upload the files of the new indexes, packages first; files of earlier publications are there already."""
        packages = {
            name: file
            for name, file in self._new.files.items()
            if self._verify or file.since > old.number or name in old.retired
        }
        in_parallel(lambda item: self._upload_if_missing(*item), packages.items())
        in_parallel(lambda item: self._upload_if_missing(*item), self._metadata.items())

    def _upload_if_missing(self, name: str, file: File) -> None:
        if self._bucket.checksum(name) != file.sha256:
            self._bucket.upload(name, file.local, file.sha256, _kind(name))
            self._uploaded.append(file.local.stat().st_size)

    def _switch(self, repository: str, index: Index) -> bool:
        """Show a repository's new index; return False if the bucket shows it already."""
        repomd = f"{repository}/repodata/repomd.xml"
        wanted = {repomd: index.repomd}
        if index.signature is not None:
            wanted[f"{repomd}.asc"] = index.signature
        before = self._read(wanted)
        changed = {name: content for name, content in wanted.items() if before[name] != content}
        try:
            in_parallel(lambda item: self._bucket.put(*item, _kind(item[0])), changed.items())
        except CannotRun:
            self._restore(wanted, before)
            raise
        return repomd in changed

    def _restore(self, wanted: Mapping[str, bytes], before: Mapping[str, bytes | None]) -> None:
        """Write the old index and signature again, unless both new ones arrived; ignore errors of the server."""
        with contextlib.suppress(CannotRun):
            if (actual := self._read(wanted)) != wanted:
                old = {name: content for name, content in before.items() if content and actual[name] != content}
                in_parallel(lambda item: self._bucket.put(*item, _kind(item[0])), old.items())

    def _read(self, names: Iterable[str]) -> dict[str, bytes | None]:
        contents: dict[str, bytes | None] = dict.fromkeys(names)

        def read(name: str) -> None:
            stored = self._bucket.read(name)
            contents[name] = stored.content if stored else None

        in_parallel(read, list(contents))
        return contents

    def _named_files(self) -> set[str]:
        heads = {f"{name}/repodata/repomd.xml{end}" for name in self._local for end in ("", ".asc")}
        return {*self._new.files, *self._metadata, *heads, MARK}

    def _retired_files(self, old: Mark, claim: Claim) -> dict[str, float]:
        """Return the files that no index names any more, with the time since which the bucket's indexes do not."""
        named, now = self._named_files(), self._now()
        gone = {name for name in old.repositories if name not in self._local}
        candidates = {name for repository in old.repositories.values() for name in repository.metadata}
        candidates |= {*claim.metadata, *self._new.retired}
        candidates |= {f"{name}/repodata/repomd.xml{end}" for name in gone for end in ("", ".asc")}
        if self._verify:
            # Only below repositories: other objects in the bucket are not ours.
            ours = tuple(f"{name}/" for name in (*self._local, *old.repositories))
            candidates |= {name for name in self._bucket.names() if name.startswith(ours)}
        return {name: old.retired.get(name, now) for name in sorted((candidates | set(old.retired)) - named)}

    def _collect(self, mark: Mark, written: BucketMark) -> int:
        """Delete files that no client reads any more; return their number.

        The mark forgets them after the deletion, so a killed push forgets none.
        """
        named, due = self._named_files(), self._now() - self._keep
        expired = [name for name, since in mark.retired.items() if since <= due and name not in named]
        if not expired:
            return 0
        # Indexes first, so that an index in the bucket always has all its files.
        heads = [name for name in expired if "/repodata/" in name]
        self._bucket.delete(heads)
        self._bucket.delete([name for name in expired if name not in set(heads)])
        staying = {name: since for name, since in mark.retired.items() if name not in set(expired)}
        written.write(mark.model_copy(update={"retired": staying}))
        return len(expired)


def _kind(name: str) -> str:
    return _KINDS.get(Path(name).suffix, "application/octet-stream")
