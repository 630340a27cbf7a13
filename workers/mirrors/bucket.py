"""An S3 bucket with the few operations that a publication needs. Each does all or nothing; errors are one line.

Endpoint, region and credentials come from the usual settings of S3 clients: ``AWS_ENDPOINT_URL``,
``AWS_ACCESS_KEY_ID``, ``~/.aws/config`` …; they are not part of the URL or of our configuration. After a temporary
error (5xx, throttling, a lost connection), botocore tries again with growing pauses ("standard" mode).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from workers.base.errors import CannotRun
from workers.base.files import sha256_of

PARALLEL = 8
"""Number of requests at the same time."""
ATTEMPTS = 5
"""Attempts for one request, with the first; botocore waits up to 1, 2, 4 … 20 s between them."""
PART = 16 << 20
"""Bytes of one part of a large upload. At most eight uploads of two parts each are in memory."""
DELETE_LIMIT = 1000
"""Most keys of one DeleteObjects request (S3 API reference)."""
CHECKSUM = "sha256"
"""Key of the user metadata with an object's SHA-256. An ETag is a checksum only for some ways of upload."""

_CREDENTIALS = (
    "AccessDenied AllAccessDisabled ExpiredToken InvalidAccessKeyId SignatureDoesNotMatch InvalidToken 401 403"
)
_CONDITION = "PreconditionFailed ConditionalRequestConflict 412 409"
_T = TypeVar("_T")


class ConditionFailed(Exception):
    """The object in the bucket is not the one that a conditional request expected."""


@dataclass(frozen=True)
class Stored:
    """A small object: its content, and the ETag for a conditional put."""

    content: bytes
    etag: str


class Bucket:
    """The objects below one ``s3://bucket/prefix``. Names are relative to it."""

    def __init__(self, url: str, *, attempts: int = ATTEMPTS) -> None:
        """Make a client; it does not connect yet.

        :param attempts: attempts for each request.
        :raises CannotRun: if it is no S3 URL, or settings of the client are missing.
        """
        scheme, _, rest = url.partition("://")
        self._bucket, _, prefix = rest.strip("/").partition("/")
        if scheme != "s3" or not self._bucket:
            raise CannotRun(f"{url} is no object storage that can be published to", "give s3://BUCKET/PREFIX")
        self.url = url.rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._attempts = attempts
        self._client = self._connect(attempts)

    def read(self, name: str) -> Stored | None:
        """Return a small object; None if it does not exist."""
        return self._answer(lambda: self._get(name), missing=None)

    def checksum(self, name: str) -> str | None:
        """Return the SHA-256 that the uploader noted; "" if none was noted, None if the object does not exist."""
        head = self._answer(lambda: self._client.head_object(**self._object(name)), missing=None)
        return None if head is None else str(head.get("Metadata", {}).get(CHECKSUM, ""))

    def put(self, name: str, content: bytes, kind: str, *, replaces: str | None = "", cache: str = "no-cache") -> str:
        """Write a small object and return its ETag.

        :param kind: its content type.
        :param replaces: ETag of the object to replace; None: no object may exist; "": no condition.
        :raises ConditionFailed: if another object is there. Servers without conditional requests write it anyway.
        """
        condition = {} if replaces == "" else {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        fields = {
            **self._object(name),
            "Body": content,
            "ContentType": kind,
            "CacheControl": cache,
            "Metadata": {CHECKSUM: hashlib.sha256(content).hexdigest()},
        }
        try:
            done = self._answer(lambda: self._client.put_object(**fields, **condition))
        except (
            NotImplementedError
        ):  # no conditional requests: the caller checks before and after, the best that is left
            done = self._answer(lambda: self._client.put_object(**fields))
        return str(done["ETag"])

    def upload(self, name: str, path: Path, sha256: str, kind: str) -> None:
        """Upload a file of any size; it appears whole or not at all.

        :raises CannotRun: also if the file has another checksum: it must not reach users.
        """
        from boto3.s3.transfer import TransferConfig

        fields = {"ContentType": kind, "Metadata": {CHECKSUM: sha256}}
        parts = TransferConfig(multipart_threshold=2 * PART, multipart_chunksize=PART, max_concurrency=2)
        try:
            if (actual := sha256_of(path)) != sha256:
                what = f"{path} is not what was published: SHA-256 {actual}, expected {sha256}"
                raise CannotRun(what, "go back to an earlier publication: kitten rollback")
            with path.open("rb") as stream:
                target = self._object(name)
                self._answer(lambda: self._client.upload_fileobj(stream, **target, ExtraArgs=fields, Config=parts))
        except OSError as error:
            raise CannotRun(f"cannot read {path}: {error.strerror}", "publish the package again") from None

    def content_sha256(self, name: str) -> str | None:
        """Download an object and return the SHA-256 of its content; None if it does not exist."""
        digest = hashlib.sha256()
        writer = SimpleNamespace(write=digest.update)  # it cannot seek, so the client writes in order

        def whole() -> str:
            self._client.download_fileobj(**self._object(name), Fileobj=writer)
            return digest.hexdigest()

        return self._answer(whole, missing=None)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; a missing object is no error."""
        for first in range(0, len(names), DELETE_LIMIT):
            keys = [{"Key": self._prefix + name} for name in names[first : first + DELETE_LIMIT]]
            request = {"Objects": keys, "Quiet": True}
            done = self._answer(functools.partial(self._client.delete_objects, Bucket=self._bucket, Delete=request))
            for error in done.get("Errors", ()):
                what = f"{self.url}: cannot delete {error.get('Key')}: {error.get('Code')}"
                raise CannotRun(what, "let the bucket's policy allow s3:DeleteObject")

    def names(self) -> list[str]:
        """Return the names of all objects below the prefix, sorted. It takes one request for each thousand."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        keys = self._answer(lambda: [entry["Key"] for page in pages for entry in page.get("Contents", ())])
        # A key that ends in "/" is an empty object, with which web consoles show a folder.
        return [key.removeprefix(self._prefix) for key in keys if not key.endswith("/")]

    def _connect(self, attempts: int) -> Any:
        import boto3.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        limits = Config(
            # "total", because botocore's max_attempts does not count the first attempt.
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=2 * PARALLEL,
        )
        try:
            # A new session, because boto3's default session may be from before a fork.
            return boto3.session.Session().client("s3", config=limits)
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
            raise self._error(error) from None

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    def _get(self, name: str) -> Stored:
        from botocore.exceptions import BotoCoreError

        for left in reversed(range(self._attempts)):
            answer = self._client.get_object(**self._object(name))
            try:
                return Stored(answer["Body"].read(), answer["ETag"])
            except BotoCoreError:  # the body ended early; botocore repeats only requests
                if not left:
                    raise
        raise AssertionError("at least one attempt")

    def _answer(self, call: Callable[[], _T], missing: Any = ...) -> _T:
        """Return the answer of a call; raise an error of botocore as one of ours.

        :param missing: the answer if the object does not exist; without it, that is an error.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from s3transfer.exceptions import RetriesExceededError

        try:
            return call()
        except (BotoCoreError, ClientError, RetriesExceededError) as error:
            code = _code(error)
            if code in _CONDITION.split():
                raise ConditionFailed(str(error)) from None
            if code in ("NotImplemented", "501"):
                raise NotImplementedError(str(error)) from None
            if missing is not ... and code in ("NoSuchKey", "404"):
                return missing  # type: ignore[no-any-return]
            raise self._error(error) from None

    def _error(self, error: Exception) -> CannotRun:
        from botocore.exceptions import NoCredentialsError, PartialCredentialsError, ProfileNotFound

        code, message = _code(error), " ".join(str(error).split())[:200] or type(error).__name__
        if code == "NoSuchBucket":
            what = f"there is no bucket {self._bucket} for {self.url}"
            return CannotRun(what, "create it, or correct the URL in stages.yaml")
        if code in _CREDENTIALS.split() or isinstance(
            error, NoCredentialsError | PartialCredentialsError | ProfileNotFound
        ):
            return CannotRun(
                f"{self.url} refuses us: {message}", "check AWS_ACCESS_KEY_ID and its secret, or AWS_PROFILE"
            )
        if not code:
            hint = "check AWS_ENDPOINT_URL and the network; then run it again"
            return CannotRun(f"cannot reach {self.url}: {message}", hint)
        return CannotRun(f"{self.url}: {code}: {message}", "run it again; it goes on where it was")


def _code(error: Exception) -> str:
    """Return the error code of S3; "" if no answer came."""
    from botocore.exceptions import ClientError

    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""


def in_parallel(work: Callable[[_T], object], things: Iterable[_T]) -> None:
    """Call ``work`` for each thing, at most :data:`PARALLEL` calls at the same time; the first error ends it."""
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="push") as pool:
        calls = [pool.submit(work, thing) for thing in things]
        try:
            for call in calls:
                call.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
