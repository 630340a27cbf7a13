"""A bucket's mark, ``publication.json``: who publishes there, what arrived whole, and what is under way.

It is the lock of something that has none: a push claims it by a conditional request (If-Match), and whoever finds
another's claim or another's history there is refused before anything is uploaded.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping

from workers.base.errors import CannotRun
from workers.mirrors.bucket import Bucket, ConditionFailed, Stored
from workers.mirrors.publication import Claim, Mark, Publication

MARK = "publication.json"


class BucketMark:
    """The mark of one bucket, as one publication sees and changes it."""

    def __init__(self, bucket: Bucket, publication: Publication) -> None:
        """Read it.

        :raises CannotRun: when something else lies in its place.
        """
        self._bucket, self._new = bucket, publication
        stored = bucket.read(MARK)
        self.found = self._parsed(stored)
        """As it was before this push; one that is not there yet is ours, of publication 0."""
        self._etag = stored.etag if stored else None
        self._claimed: Mark | None = None

    def require_ours(self, shown: Mapping[str, str]) -> None:
        """Refuse a bucket that another publisher, or a later or another publication, has reached.

        :param shown: repository → checksum of the repomd.xml that we would show.
        :raises CannotRun: nothing was changed then.
        """
        old, url = self.found, self._bucket.url
        if (who := old.pushing.publisher if old.pushing else old.publisher) != self._new.publisher:
            what = f"{url} belongs to the publisher {who}; this one is {self._new.publisher}"
            raise CannotRun(what, "if that one is gone for good: kitten bucket take-over")
        reached = max(old.number, old.pushing.number if old.pushing else 0)
        if reached > self._new.number:
            what = f"{url} has seen publication {reached}; this one is {self._new.number}"
            raise CannotRun(what, "a newer state folder is elsewhere; if it is lost for good: kitten bucket take-over")
        if old.number == self._new.number:
            differ = [
                n
                for n, sha256 in shown.items()
                if n in old.repositories and old.repositories[n].repomd_sha256 != sha256
            ]
            if differ:
                what = f"{url} has another publication {old.number}: {differ[0]} differs"
                raise CannotRun(what, "two state folders were published from; keep one: kitten bucket take-over")

    def arrived(self, shown: Mapping[str, str]) -> bool:
        """Whether the bucket says that exactly this publication is there.

        :param shown: as in :meth:`require_ours`.
        """
        old, new = self.found, self._new
        same = old.number == new.number and old.pushing is None and old.publisher == new.publisher
        return same and {name: there.repomd_sha256 for name, there in old.repositories.items()} == dict(shown)

    def claim(self, metadata: Iterable[str]) -> Claim:
        """Say that a push has begun: from now on another publisher is refused.

        :param metadata: what it may upload under names that a later index may not have.
        :raises CannotRun: when somebody else was quicker.
        """
        before = self.found.pushing.metadata if self.found.pushing else ()
        claim = Claim(
            publisher=self._new.publisher,
            number=self._new.number,
            token=secrets.token_hex(8),
            metadata=tuple(sorted({*metadata, *before})),
        )
        self._claimed = self.found.model_copy(update={"pushing": claim})
        self.write(self._claimed)
        return claim

    def still_ours(self) -> None:
        """Make sure that the claim is ours: what guards servers that know no conditional requests.

        :raises CannotRun: when it is another's.
        """
        there = self._bucket.read(MARK)
        if there is None or self._claimed is None or self._parsed(there).pushing != self._claimed.pushing:
            raise self._lost(there)

    def write(self, mark: Mark) -> None:
        """Write the mark in the place of the one that was read or written last.

        A server whose answer was lost is asked again by the client library and then refuses: what is there decides.

        :raises CannotRun: when something else is there meanwhile.
        """
        content = (mark.model_dump_json(indent=1) + "\n").encode()
        try:
            self._etag = self._bucket.put(MARK, content, "application/json", replaces=self._etag)
        except ConditionFailed:
            there = self._bucket.read(MARK)
            if there is None or there.content != content:
                raise self._lost(there) from None
            self._etag = there.etag

    def _parsed(self, stored: Stored | None) -> Mark:
        if stored is None:
            return Mark(publisher=self._new.publisher)
        try:
            return Mark.model_validate_json(stored.content)
        except ValueError:
            what = f"{self._bucket.url}/{MARK} is no mark of a publication"
            raise CannotRun(what, "another URL, or remove it if nothing else publishes there") from None

    def _lost(self, there: Stored | None) -> CannotRun:
        mark = self._parsed(there) if there else None
        who = (mark.pushing.publisher if mark.pushing else mark.publisher) if mark else "somebody who removed the mark"
        return CannotRun(
            f"{self._bucket.url} is being published to by {who} at this moment", "only one may; then run it again"
        )
