"""A bucket's mark, ``publication.json``: its publisher, the last complete publication, and the push that runs now.

A bucket has no locks, so the mark is its lock: a push claims it by a conditional request (If-Match). A push that finds
the claim or the history of another publisher is refused before it uploads anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping

from workers.base.errors import CannotRun
from workers.mirrors.bucket import Bucket, ConditionFailed, Stored
from workers.mirrors.publication import Claim, Mark, Publication

MARK = "publication.json"


class BucketMark:
    """The mark of one bucket, for the push of one publication."""

    def __init__(self, bucket: Bucket, publication: Publication) -> None:
        """Read the mark.

        :raises CannotRun: if the object of that name is no mark.
        """
        self._bucket, self._new = bucket, publication
        stored = bucket.read(MARK)
        self.before = self._parse(stored)
        """The mark before this push; if the bucket has none, a mark of ours with publication 0."""
        self._etag = stored.etag if stored else None
        self._claimed: Mark | None = None

    def require_ours(self, shown: Mapping[str, str]) -> None:
        """Check that this publication may follow the one in the bucket; nothing is changed.

        :param shown: repository → checksum of the repomd.xml that we would show.
        :raises CannotRun: if the bucket has another publisher, a later publication, or another one of the same number.
        """
        old, url = self.before, self._bucket.url
        if (who := old.pushing.publisher if old.pushing else old.publisher) != self._new.publisher:
            what = f"{url} belongs to the publisher {who}; this one is {self._new.publisher}"
            raise CannotRun(what, "if that publisher no longer exists: kitten bucket take-over")
        reached = max(old.number, old.pushing.number if old.pushing else 0)
        if reached > self._new.number:
            what = f"{url} has seen publication {reached}; this one is {self._new.number}"
            raise CannotRun(what, "publish from the newer state folder; if it is lost: kitten bucket take-over")
        if old.number == self._new.number:
            differ = [
                n
                for n, sha256 in shown.items()
                if n in old.repositories and old.repositories[n].repomd_sha256 != sha256
            ]
            if differ:
                what = f"{url} has another publication {old.number}: {differ[0]} differs"
                raise CannotRun(what, "two state folders published to it; keep one of them: kitten bucket take-over")

    def shows(self, shown: Mapping[str, str]) -> bool:
        """Return whether the mark says that exactly this publication is complete in the bucket.

        :param shown: as in :meth:`require_ours`.
        """
        old, new = self.before, self._new
        same = old.number == new.number and old.pushing is None and old.publisher == new.publisher
        return same and {name: entry.repomd_sha256 for name, entry in old.repositories.items()} == dict(shown)

    def claim(self, metadata: Iterable[str]) -> Claim:
        """Write into the mark that a push has begun, so that other publishers are refused.

        :param metadata: names of the metadata that it may upload; later indexes may not have them.
        :raises CannotRun: if another push was quicker.
        """
        before = self.before.pushing.metadata if self.before.pushing else ()
        claim = Claim(
            publisher=self._new.publisher,
            number=self._new.number,
            token=secrets.token_hex(8),
            metadata=tuple(sorted({*metadata, *before})),
        )
        self._claimed = self.before.model_copy(update={"pushing": claim})
        self.write(self._claimed)
        return claim

    def require_claim(self) -> None:
        """Check that the claim is still ours; needed for servers without conditional requests.

        :raises CannotRun: if it is another's.
        """
        stored = self._bucket.read(MARK)
        if stored is None or self._claimed is None or self._parse(stored).pushing != self._claimed.pushing:
            raise self._lost_error(stored)

    def write(self, mark: Mark) -> None:
        """Replace the mark that was read or written last.

        If the server's answer is lost, the client library sends the request again, and the server refuses it. Then the
        content in the bucket decides.

        :raises CannotRun: if another push has written the mark in the meantime.
        """
        content = (mark.model_dump_json(indent=1) + "\n").encode()
        try:
            self._etag = self._bucket.put(MARK, content, "application/json", replaces=self._etag)
        except ConditionFailed:
            stored = self._bucket.read(MARK)
            if stored is None or stored.content != content:
                raise self._lost_error(stored) from None
            self._etag = stored.etag

    def _parse(self, stored: Stored | None) -> Mark:
        if stored is None:
            return Mark(publisher=self._new.publisher)
        try:
            return Mark.model_validate_json(stored.content)
        except ValueError:
            what = f"{self._bucket.url}/{MARK} is no mark of a publication"
            raise CannotRun(what, "use another URL, or remove the object if nothing else publishes there") from None

    def _lost_error(self, stored: Stored | None) -> CannotRun:
        mark = self._parse(stored) if stored else None
        who = (mark.pushing.publisher if mark.pushing else mark.publisher) if mark else "a user who removed the mark"
        return CannotRun(
            f"{self._bucket.url} is changed by {who} at this moment",
            "wait until the other push ends, then run it again",
        )
