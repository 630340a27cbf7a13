"""What is in a bucket, held against what was published: the mark, each index and its signature, each file they name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workers.mirrors.bucket import Bucket, in_parallel
from workers.mirrors.mark import MARK, BucketMark
from workers.mirrors.publication import Mark, Publication

PUSH = "kitten bucket push --everything"
TAKE_OVER = "kitten bucket take-over"


@dataclass(frozen=True, order=True)
class Finding:
    """Something in a bucket that is not as it was published."""

    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.what} → {self.hint}"


def check(publication: Publication, url: str, *, content: bool = False) -> tuple[int, tuple[Finding, ...]]:
    """How many objects were looked at, and what is wrong with them.

    Index and signature are always compared byte by byte. Of other objects the checksum that their uploader noted is
    compared, one request each: who overwrites one by other means leaves none.

    :param content: download every object and make its checksum.
    :raises CannotRun: when the bucket cannot be read.
    """
    bucket = Bucket(url)
    mark = BucketMark(bucket, publication).found
    if mark.number == 0 and mark.pushing is None:
        return 0, (Finding(f"{url} has no {MARK}: nothing was pushed there", "kitten bucket push"),)
    if another := _of_another(mark, publication, url) or _at_another_number(mark, publication, url):
        return 1, (another,)  # what it holds is not what this folder has, and need not be
    found: list[Finding] = []
    indexes = publication.indexes()
    heads: dict[str, bytes | None] = {}
    for name, index in indexes.items():
        heads[f"{name}/repodata/repomd.xml"] = index.repomd
        heads[f"{name}/repodata/repomd.xml.asc"] = index.signature
    files = {name: file.sha256 for index in indexes.values() for name, file in index.metadata.items()}
    files |= {name: file.sha256 for name, file in publication.files.items()}

    def look_at_head(item: tuple[str, bytes | None]) -> None:
        stored = bucket.read(item[0])
        if (stored.content if stored else None) != item[1]:
            found.append(_differs(url, item[0], stored is None))

    read: Callable[[str], str | None] = bucket.content_sha256 if content else bucket.checksum

    def look_at(item: tuple[str, str]) -> None:
        if (there := read(item[0])) != item[1]:
            found.append(_differs(url, item[0], there is None))

    in_parallel(look_at_head, heads.items())
    in_parallel(look_at, files.items())
    known = {*heads, *files, *mark.retired}
    ours = tuple(f"{repository}/" for repository in indexes)  # what else lies in the bucket is no business of ours
    strays = [name for name in bucket.names() if name.startswith(ours) and name not in known]
    found += [Finding(f"{url}/{name} is named by no index", f"{PUSH} sees that it is removed") for name in strays]
    return 1 + len(heads) + len(files), tuple(sorted(found))


def _of_another(mark: Mark, publication: Publication, url: str) -> Finding | None:
    who = mark.pushing.publisher if mark.pushing else mark.publisher
    if who == publication.publisher:
        return None
    what = (
        f"{url} belongs to the publisher {who}, this one is {publication.publisher}; it shows publication {mark.number}"
    )
    return Finding(what, f"if that one is gone for good: {TAKE_OVER}")


def _at_another_number(mark: Mark, publication: Publication, url: str) -> Finding | None:
    if mark.pushing:
        what = f"a push of publication {mark.pushing.number} to {url} is under way or was cut off"
        return Finding(what, "kitten bucket push")
    if mark.number > publication.number:
        what = f"{url} shows publication {mark.number}, and only {publication.number} are known here"
        return Finding(what, f"this state folder is an older one; if the newer is lost: {TAKE_OVER}")
    if mark.number < publication.number:
        what = f"{url} shows publication {mark.number}, users of the folder see {publication.number}"
        return Finding(what, "kitten bucket push")
    return None


def _differs(url: str, name: str, missing: bool) -> Finding:
    return Finding(f"{url}/{name} is {'missing' if missing else 'not what was published'}", PUSH)
