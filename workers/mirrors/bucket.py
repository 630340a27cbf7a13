"""An S3 bucket as a publication needs it: few calls, each of which did all or nothing, and errors in one line.

Endpoint, region and credentials are found where every S3 client looks for them: ``AWS_ENDPOINT_URL``,
``AWS_ACCESS_KEY_ID``, ``~/.aws/config`` …; none of them is part of the URL or of the configuration. Transient errors
(5xx, throttling, a lost connection) are tried again with growing pauses by botocore itself ("standard" mode).
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
"""Requests under way at a time."""
ATTEMPTS = 5
"""Tries of one request, the first included; botocore waits up to 1, 2, 4 … 20 s between them."""
PART = 16 << 20
"""Bytes of one part of a large upload; eight uploads of two parts each bound the memory."""
DELETED_AT_ONCE = 1000
"""Most keys that one DeleteObjects takes (S3 API reference)."""
CHECKSUM = "sha256"
"""User metadata that holds an object's SHA-256: an ETag is one only by accident of how the object was uploaded."""

_CREDENTIALS = (
    "AccessDenied AllAccessDisabled ExpiredToken InvalidAccessKeyId SignatureDoesNotMatch InvalidToken 401 403"
)
_CONDITION = "PreconditionFailed ConditionalRequestConflict 412 409"
_T = TypeVar("_T")


class ConditionFailed(Exception):
    """The object is not, or no longer, the one that a conditional request expected."""


@dataclass(frozen=True)
class Stored:
    """A small object: its content, and the ETag that a conditional put names."""

    content: bytes
    etag: str


class Bucket:
    """What lies below one ``s3://bucket/prefix``. Names are relative to it."""

    def __init__(self, url: str, *, attempts: int = ATTEMPTS) -> None:
        """Connect to nothing yet.

        :raises CannotRun: when it is no S3 URL, or the settings of the client are not complete.
        """
        scheme, _, rest = url.partition("://")
        self._bucket, _, prefix = rest.strip("/").partition("/")
        if scheme != "s3" or not self._bucket:
            raise CannotRun(f"{url} is no object storage that can be published to", "give s3://BUCKET/PREFIX")
        self.url = url.rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._attempts = attempts
        self._client = self._connected(attempts)

    def read(self, name: str) -> Stored | None:
        """A small object; None if it does not exist."""
        return self._answer(lambda: self._get(name), missing=None)

    def checksum(self, name: str) -> str | None:
        """SHA-256 of an object as its uploader noted it; "" where nobody did, None where there is no object."""
        found = self._answer(lambda: self._client.head_object(**self._place(name)), missing=None)
        return None if found is None else str(found.get("Metadata", {}).get(CHECKSUM, ""))

    def put(self, name: str, content: bytes, kind: str, *, replaces: str | None = "", cache: str = "no-cache") -> str:
        """Write a small object and return its ETag.

        :param kind: its content type.
        :param replaces: ETag of what must be there; None: nothing may be there; "": no condition.
        :raises ConditionFailed: when something else is there. Servers that know no conditions write all the same.
        """
        condition = {} if replaces == "" else {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        fields = {
            **self._place(name),
            "Body": content,
            "ContentType": kind,
            "CacheControl": cache,
            "Metadata": {CHECKSUM: hashlib.sha256(content).hexdigest()},
        }
        try:
            done = self._answer(lambda: self._client.put_object(**fields, **condition))
        except NotImplementedError:  # the caller looks before and after, as well as that can be done without conditions
            done = self._answer(lambda: self._client.put_object(**fields))
        return str(done["ETag"])

    def upload(self, name: str, path: Path, sha256: str, kind: str) -> None:
        """Upload a file of any size; it appears whole or not at all.

        :raises CannotRun: also when the file is not what its checksum says: it must not reach users.
        """
        from boto3.s3.transfer import TransferConfig

        fields = {"ContentType": kind, "Metadata": {CHECKSUM: sha256}}
        parts = TransferConfig(multipart_threshold=2 * PART, multipart_chunksize=PART, max_concurrency=2)
        try:
            if (found := sha256_of(path)) != sha256:
                what = f"{path} is not what was published: SHA-256 {found}, expected {sha256}"
                raise CannotRun(what, "kitten rollback")
            with path.open("rb") as stream:
                place = self._place(name)
                self._answer(lambda: self._client.upload_fileobj(stream, **place, ExtraArgs=fields, Config=parts))
        except OSError as error:
            raise CannotRun(f"cannot read {path}: {error.strerror}", "publish the package again") from None

    def content_sha256(self, name: str) -> str | None:
        """SHA-256 of an object's content, all of which is downloaded; None if it does not exist."""
        digest = hashlib.sha256()
        writer = SimpleNamespace(write=digest.update)  # the client writes to it in order, since it cannot seek

        def whole() -> str:
            self._client.download_fileobj(**self._place(name), Fileobj=writer)
            return digest.hexdigest()

        return self._answer(whole, missing=None)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is not there is deleted already."""
        for first in range(0, len(names), DELETED_AT_ONCE):
            keys = [{"Key": self._prefix + name} for name in names[first : first + DELETED_AT_ONCE]]
            request = {"Objects": keys, "Quiet": True}
            done = self._answer(functools.partial(self._client.delete_objects, Bucket=self._bucket, Delete=request))
            for error in done.get("Errors", ()):
                raise CannotRun(f"{self.url}: cannot delete {error.get('Key')}: {error.get('Code')}", "see its policy")

    def names(self) -> list[str]:
        """Every object below the prefix, in order. One request for each thousand."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        keys = self._answer(lambda: [found["Key"] for page in pages for found in page.get("Contents", ())])
        # A key that ends in "/" is an empty object by which web consoles show a folder.
        return [key.removeprefix(self._prefix) for key in keys if not key.endswith("/")]

    def _connected(self, attempts: int) -> Any:
        import boto3.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        limits = Config(
            # total: botocore's max_attempts does not count the first one.
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=2 * PARALLEL,
        )
        try:
            # A session of its own: boto3's default one may be from before a fork.
            return boto3.session.Session().client("s3", config=limits)
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
            raise self._cannot(error) from None

    def _place(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    def _get(self, name: str) -> Stored:
        from botocore.exceptions import BotoCoreError

        for left in reversed(range(self._attempts)):
            found = self._client.get_object(**self._place(name))
            try:
                return Stored(found["Body"].read(), found["ETag"])
            except BotoCoreError:  # the body broke off: botocore tries only requests again
                if not left:
                    raise
        raise AssertionError("at least one attempt")

    def _answer(self, call: Callable[[], _T], missing: Any = ...) -> _T:
        """The call's answer; what went wrong as one of our errors.

        :param missing: the answer if there is no such object.
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
            raise self._cannot(error) from None

    def _cannot(self, error: Exception) -> CannotRun:
        from botocore.exceptions import NoCredentialsError, PartialCredentialsError, ProfileNotFound

        code, words = _code(error), " ".join(str(error).split())[:200] or type(error).__name__
        if code == "NoSuchBucket":
            what = f"there is no bucket {self._bucket} for {self.url}"
            return CannotRun(what, "create it, or correct the URL in stages.yaml")
        if code in _CREDENTIALS.split() or isinstance(
            error, NoCredentialsError | PartialCredentialsError | ProfileNotFound
        ):
            return CannotRun(
                f"{self.url} refuses us: {words}", "check AWS_ACCESS_KEY_ID and its secret, or AWS_PROFILE"
            )
        if not code:
            hint = "check AWS_ENDPOINT_URL and the network; then run it again"
            return CannotRun(f"cannot reach {self.url}: {words}", hint)
        return CannotRun(f"{self.url}: {code}: {words}", "run it again; it goes on where it was")


def _code(error: Exception) -> str:
    """S3's own word for what went wrong; "" if there was no answer."""
    from botocore.exceptions import ClientError

    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""


def in_parallel(work: Callable[[_T], object], things: Iterable[_T]) -> None:
    """Do the same with many things, at most :data:`PARALLEL` at a time; the first error ends it."""
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="push") as pool:
        running = [pool.submit(work, thing) for thing in things]
        try:
            for one in running:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
