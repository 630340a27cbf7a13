"""Compare a bucket with what was published: the mark, each index and its signature, and each file that they name."""

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
    """A difference between a bucket and what was published."""

    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.what} → {self.hint}"


def check(publication: Publication, url: str, *, content: bool = False) -> tuple[int, tuple[Finding, ...]]:
    """Compare a bucket with a publication; return the number of compared objects, and the findings.

    Indexes and signatures are compared byte by byte. For other objects, the checksum that the uploader noted is
    compared, by one request each. If another tool overwrites an object, no checksum is noted.

    :param content: download every object and compute its checksum.
    :raises CannotRun: if the bucket cannot be read.
    """
    bucket = Bucket(url)
    mark = BucketMark(bucket, publication).before
    if mark.number == 0 and mark.pushing is None:
        return 0, (Finding(f"{url} has no {MARK}: nothing was pushed there", "kitten bucket push"),)
    if another := _of_another(mark, publication, url) or _at_another_number(mark, publication, url):
        return 1, (another,)  # its objects are of another publication; there is nothing to compare
    findings: list[Finding] = []
    indexes = publication.indexes()
    heads: dict[str, bytes | None] = {}
    for name, index in indexes.items():
        heads[f"{name}/repodata/repomd.xml"] = index.repomd
        heads[f"{name}/repodata/repomd.xml.asc"] = index.signature
    files = {name: file.sha256 for index in indexes.values() for name, file in index.metadata.items()}
    files |= {name: file.sha256 for name, file in publication.files.items()}

    def compare_head(item: tuple[str, bytes | None]) -> None:
        stored = bucket.read(item[0])
        if (stored.content if stored else None) != item[1]:
            findings.append(_difference(url, item[0], stored is None))

    read: Callable[[str], str | None] = bucket.content_sha256 if content else bucket.checksum

    def compare_file(item: tuple[str, str]) -> None:
        if (actual := read(item[0])) != item[1]:
            findings.append(_difference(url, item[0], actual is None))

    in_parallel(compare_head, heads.items())
    in_parallel(compare_file, files.items())
    known = {*heads, *files, *mark.retired}
    ours = tuple(f"{repository}/" for repository in indexes)  # other objects in the bucket are not ours
    strays = [name for name in bucket.names() if name.startswith(ours) and name not in known]
    findings += [Finding(f"{url}/{name} is named by no index", f"{PUSH} removes it after a day") for name in strays]
    return 1 + len(heads) + len(files), tuple(sorted(findings))


def _of_another(mark: Mark, publication: Publication, url: str) -> Finding | None:
    who = mark.pushing.publisher if mark.pushing else mark.publisher
    if who == publication.publisher:
        return None
    what = (
        f"{url} belongs to the publisher {who}, this one is {publication.publisher}; it shows publication {mark.number}"
    )
    return Finding(what, f"if that publisher no longer exists: {TAKE_OVER}")


def _at_another_number(mark: Mark, publication: Publication, url: str) -> Finding | None:
    if mark.pushing:
        what = f"a push of publication {mark.pushing.number} to {url} is under way or was cut off"
        return Finding(what, "kitten bucket push")
    if mark.number > publication.number:
        what = f"{url} shows publication {mark.number}, and only {publication.number} are known here"
        return Finding(what, f"this state folder is older; if the newer one is lost: {TAKE_OVER}")
    if mark.number < publication.number:
        what = f"{url} shows publication {mark.number}, users of the folder see {publication.number}"
        return Finding(what, "kitten bucket push")
    return None


def _difference(url: str, name: str, missing: bool) -> Finding:
    return Finding(f"{url}/{name} is {'missing' if missing else 'not what was published'}", PUSH)
