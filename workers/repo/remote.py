"""A signed stage at object storage: the local folder is the authority, and what it publishes is pushed to a bucket.

An object store has no rename over many objects, so a push appends and then switches, repository by repository:

1. ``publication.json``, the mark, is claimed: from now on another publisher is refused.
2. Packages the bucket lacks are uploaded, then metadata, whose names hold their checksums: nobody sees either yet.
3. Per repository, in the order given (providers before consumers): ``repomd.xml.asc``, then ``repomd.xml``, which is
   the switch. In between the signature file carries the signatures of both indexes, the new one's first. Readers that
   look at all of them accept both; GnuPG in batch mode, which librepo uses through gpgme, stops at a bad one and refuses
   the old index for the time of that one request. Nothing wrong is ever accepted.
4. The mark is written as committed, with the number and the checksum of each ``repomd.xml``.
5. What no repository has named for long enough is deleted.

Whatever is killed or cut off leaves each repository at its old or its new index, with everything that index names.
The same call again ends the work, as does the push of any later publication; a rollback is a publication too.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workers import cache
from workers.errors import CannotRun
from workers.repo.bucket import Bucket, ConditionFailed, Stored, at_once
from workers.repo.openpgp import bridged
from workers.repo.publication import Claim, File, Mark, Publication, Pushed, Repository

MARK = "publication.json"
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
    with cache.locked(stage / ".publisher.lock"):
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
    :param attempts: tries of each request; by default :data:`workers.repo.bucket.ATTEMPTS`.
    :raises CannotRun: no bucket, no network, wrong credentials, another publisher. Each repository is whole then.
    """
    bucket = Bucket(url, **({} if attempts is None else {"attempts": attempts}))
    local = {name: _Index.read(name, folder) for name, folder in publication.repositories.items()}
    lock = cache.root() / "locks" / f"push-{publication.publisher.partition('@')[0]}"
    with cache.locked(lock):  # a second push from this host waits; one from elsewhere is refused by the mark
        return _Push(bucket, publication, local, keep, now, verify or take_over).run(take_over)


@dataclass(frozen=True)
class _Index:
    """A local repodata folder, read once."""

    repomd: bytes
    signature: bytes | None
    metadata: Mapping[str, File]

    @staticmethod
    def read(repository: str, folder: Path) -> _Index:
        import createrepo_c

        try:
            repomd, asc = (folder / "repomd.xml").read_bytes(), folder / "repomd.xml.asc"
            records = createrepo_c.Repomd(str(folder / "repomd.xml")).records
            signature = asc.read_bytes() if asc.is_file() else None
        except (OSError, RuntimeError) as error:
            raise CannotRun(
                f"cannot read the index in {folder}: {error}", "publish again; nothing was pushed"
            ) from None
        metadata = {}
        for record in records:
            name = record.location_href.removeprefix("repodata/")
            # Only names that change with the content can lie beside those of the index before.
            if "/" in name or record.checksum_type != "sha256" or record.checksum not in name:
                raise CannotRun(
                    f"{folder}/repomd.xml names {record.location_href!r}, not a name that holds its SHA-256",
                    "write the index with unique names; nothing was pushed",
                )
            metadata[f"{repository}/repodata/{name}"] = File(folder / name, record.checksum, 0)
        return _Index(repomd, signature, metadata)

    @property
    def sha256(self) -> str:
        import hashlib

        return hashlib.sha256(self.repomd).hexdigest()


class _Push:
    """One run of :func:`push`."""

    def __init__(
        self,
        bucket: Bucket,
        publication: Publication,
        local: Mapping[str, _Index],
        keep: float,
        now: Callable[[], float],
        verify: bool,
    ) -> None:
        self._bucket, self._new, self._local = bucket, publication, local
        self._keep, self._now, self._verify = keep, now, verify
        self._metadata = {name: file for index in local.values() for name, file in index.metadata.items()}
        self._uploaded: list[int] = []

    def run(self, take_over: bool) -> Pushed:
        stored = self._bucket.read(MARK)
        old = self._mark(stored)
        if not take_over:
            self._refuse(old)
        shown = {
            name: Repository(repomd_sha256=i.sha256, metadata=tuple(i.metadata)) for name, i in self._local.items()
        }
        same = old.number == self._new.number and old.pushing is None and old.publisher == self._new.publisher
        if same and dict(old.repositories) == shown and not self._verify:
            return Pushed(old.number, 0, 0, (), self._collect(old, stored.etag if stored else None))
        claim = Claim(
            publisher=self._new.publisher,
            number=self._new.number,
            token=secrets.token_hex(8),
            metadata=tuple(sorted({*self._metadata, *(old.pushing.metadata if old.pushing else ())})),
        )
        claimed = old.model_copy(update={"pushing": claim})
        etag = self._write(claimed, stored.etag if stored else None)
        self._upload(old)
        self._still(claimed)
        switched = tuple(name for name in self._local if self._switch(name, clean=old.pushing is None))
        committed = Mark(
            number=self._new.number,
            made=self._new.made,
            publisher=self._new.publisher,
            repositories=shown,
            retired=self._retired(old, claim),
        )
        self._still(claimed)
        etag = self._write(committed, etag)
        deleted = self._collect(committed, etag)
        return Pushed(self._new.number, len(self._uploaded), sum(self._uploaded), switched, deleted)

    def _mark(self, stored: Stored | None) -> Mark:
        if stored is None:
            return Mark(publisher=self._new.publisher)
        try:
            return Mark.model_validate_json(stored.content)
        except ValueError:
            what = f"{self._bucket.url}/{MARK} is no mark of a publication"
            raise CannotRun(what, "another URL, or remove it if nothing else publishes there") from None

    def _refuse(self, old: Mark) -> None:
        if (who := old.pushing.publisher if old.pushing else old.publisher) != self._new.publisher:
            what = f"{self._bucket.url} belongs to the publisher {who}; this one is {self._new.publisher}"
            raise CannotRun(what, "if that one is gone for good, take it over")
        reached = max(old.number, old.pushing.number if old.pushing else 0)
        if reached > self._new.number:
            what = f"{self._bucket.url} has seen publication {reached}; this one is {self._new.number}"
            raise CannotRun(what, "a newer state folder is elsewhere; if it is lost for good, take the bucket over")
        if old.number == self._new.number:
            differ = [
                n
                for n, i in self._local.items()
                if n in old.repositories and old.repositories[n].repomd_sha256 != i.sha256
            ]
            if differ:
                what = f"{self._bucket.url} has another publication {old.number}: {differ[0]} differs"
                raise CannotRun(
                    what, "two state folders were published from; keep one, and take the bucket over with it"
                )

    def _write(self, mark: Mark, replaces: str | None) -> str:
        """Write the mark in the place of the one that was read.

        A server that lost our answer is asked again by the client library and then refuses: what is there decides.
        """
        content = (mark.model_dump_json(indent=1) + "\n").encode()
        try:
            return self._bucket.put(MARK, content, "application/json", replaces=replaces)
        except ConditionFailed:
            there = self._bucket.read(MARK)
            if there is not None and there.content == content:
                return there.etag
            raise self._lost(there) from None

    def _still(self, claimed: Mark) -> None:
        """Make sure that the claim is ours; what guards servers that know no conditional requests."""
        there = self._bucket.read(MARK)
        if there is None or self._mark(there).pushing != claimed.pushing:
            raise self._lost(there)

    def _lost(self, there: Stored | None) -> CannotRun:
        mark = self._mark(there) if there else None
        who = (mark.pushing.publisher if mark.pushing else mark.publisher) if mark else "somebody who removed the mark"
        return CannotRun(
            f"{self._bucket.url} is being published to by {who} at this moment", "only one may; then run it again"
        )

    def _upload(self, old: Mark) -> None:
        """Everything the new indexes name: packages first. What was committed before is known to be there."""
        packages = {
            name: file
            for name, file in self._new.files.items()
            if self._verify or file.since > old.number or name in old.retired
        }
        at_once(lambda item: self._bring(*item), packages.items())
        at_once(lambda item: self._bring(*item), self._metadata.items())

    def _bring(self, name: str, file: File) -> None:
        if self._bucket.checksum(name) != file.sha256:
            self._bucket.upload(name, file.local, file.sha256, _kind(name))
            self._uploaded.append(file.local.stat().st_size)

    def _switch(self, repository: str, *, clean: bool) -> bool:
        """Show a repository's new index; False when the bucket shows it already.

        :param clean: whether no push before this one was cut off.
        """
        index, place = self._local[repository], f"{repository}/repodata/repomd.xml"
        shown = self._bucket.checksum(place)
        signature = self._bucket.read(f"{place}.asc") if index.signature is not None else None
        there = signature.content if signature else None
        if shown != index.sha256:
            if index.signature is not None:
                between = bridged(index.signature, there, clean=clean) if shown is not None else index.signature
                self._sign(place, there, between)
                there = between
            try:
                self._bucket.put(place, index.repomd, _kind(place))
            except CannotRun:
                self._take_back(place, shown, signature)
                raise
        if index.signature is not None:
            self._sign(place, there, index.signature)
        return shown != index.sha256

    def _take_back(self, place: str, shown: str | None, signature: Stored | None) -> None:
        """Give the index that is still shown its own signature again, where the server lets us."""
        with contextlib.suppress(CannotRun):
            if signature is not None and self._bucket.checksum(place) == shown:
                self._bucket.put(f"{place}.asc", signature.content, _kind(f"{place}.asc"))

    def _sign(self, place: str, there: bytes | None, wanted: bytes) -> None:
        if there != wanted:
            self._bucket.put(f"{place}.asc", wanted, _kind(f"{place}.asc"))

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

    def _collect(self, mark: Mark, etag: str | None) -> int:
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
        self._write(mark.model_copy(update={"retired": staying}), etag)
        return len(dead)


def _kind(name: str) -> str:
    return _KINDS.get(Path(name).suffix, "application/octet-stream")
