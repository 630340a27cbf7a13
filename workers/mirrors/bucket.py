"""An S3 bucket as a publication needs it: few calls, each of which did all or nothing, and errors in one line.

Endpoint, region and credentials are found where every S3 client looks for them: ``AWS_ENDPOINT_URL``,
``AWS_ACCESS_KEY_ID``, ``~/.aws/config`` …; none of them is part of the URL or of the configuration. Transient errors
(5xx, throttling, a lost connection) are tried again with growing pauses by botocore itself ("standard" mode).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
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

        :raises CannotRun: when it is no S3 URL, or the client library is missing.
        """
        scheme, _, rest = url.partition("://")
        self._bucket, _, prefix = rest.strip("/").partition("/")
        if scheme != "s3" or not self._bucket:
            raise CannotRun(f"{url} is no object storage that can be published to", "give s3://BUCKET/PREFIX")
        try:
            import s3fs
        except ImportError:
            raise CannotRun("the S3 client is not installed", "pip install s3fs") from None
        self.url = url.rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        # total: botocore's max_attempts does not count the first one.
        limits = {
            "retries": {"mode": "standard", "total_max_attempts": attempts},
            "connect_timeout": 10,
            "read_timeout": 60,
        }
        # An instance of its own: fsspec's cache would hand out one with other limits, or one from before a fork.
        self._files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False, config_kwargs=limits)
        self._files.retries = 1  # once more around botocore's own would be 25 attempts
        self._attempts = attempts

    def read(self, name: str) -> Stored | None:
        """A small object; None where there is none."""
        for attempt in range(1, self._attempts + 1):
            try:
                return self._told(lambda: self._get(name), missing=None)
            except CannotRun:
                raise
            except Exception as error:
                if attempt == self._attempts:  # the body broke off each time
                    raise self._cannot(error) from None
        raise AssertionError("unreachable")

    def checksum(self, name: str) -> str | None:
        """SHA-256 of an object as its uploader noted it; "" where nobody did, None where there is no object."""
        found = self._call("head_object", Key=self._prefix + name, missing=None)
        return None if found is None else str(found.get("Metadata", {}).get(CHECKSUM, ""))

    def put(self, name: str, content: bytes, kind: str, *, replaces: str | None = "", cache: str = "no-cache") -> str:
        """Write a small object and return its ETag.

        :param kind: its content type.
        :param replaces: ETag of what must be there; None: nothing may be there; "": no condition.
        :raises ConditionFailed: when something else is there. Servers that know no conditions write all the same.
        """
        condition = {} if replaces == "" else {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        fields: dict[str, Any] = {
            "Key": self._prefix + name,
            "Body": content,
            "ContentType": kind,
            "CacheControl": cache,
        }
        fields["Metadata"] = {CHECKSUM: hashlib.sha256(content).hexdigest()}
        try:
            done = self._call("put_object", **fields, **condition)
        except NotImplementedError:  # the caller looks before and after, as well as that can be done without conditions
            done = self._call("put_object", **fields)
        return str(done["ETag"])

    def upload(self, name: str, path: Path, sha256: str, kind: str) -> None:
        """Upload a file of any size; it appears whole or not at all.

        :raises CannotRun: also when the file is not what its checksum says: it must not reach users.
        """
        try:
            found = sha256_of(path)
        except OSError as error:
            raise CannotRun(f"cannot read {path}: {error.strerror}", "publish the package again") from None
        if found != sha256:
            raise CannotRun(f"{path} is not what was published: SHA-256 {found}, expected {sha256}", "kitten rollback")
        place = f"{self._bucket}/{self._prefix}{name}"
        fields = {"ContentType": kind, "Metadata": {CHECKSUM: sha256}, "chunksize": PART, "max_concurrency": 2}
        self._told(lambda: self._files.put_file(str(path), place, **fields))

    def content_sha256(self, name: str) -> str | None:
        """SHA-256 of an object's content, all of which is downloaded; None where there is no object."""

        def whole() -> str:
            digest = hashlib.sha256()
            with self._files.open(f"{self._bucket}/{self._prefix}{name}", "rb", block_size=PART) as stream:
                while chunk := stream.read(PART):
                    digest.update(chunk)
            return digest.hexdigest()

        return self._told(whole, missing=None)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; one that is not there is deleted already."""
        for first in range(0, len(names), DELETED_AT_ONCE):
            keys = [{"Key": self._prefix + name} for name in names[first : first + DELETED_AT_ONCE]]
            done = self._call("delete_objects", Delete={"Objects": keys, "Quiet": True})
            for error in done.get("Errors", ()):
                raise CannotRun(f"{self.url}: cannot delete {error.get('Key')}: {error.get('Code')}", "see its policy")

    def names(self) -> list[str]:
        """Every object below the prefix, in order. One request for each thousand."""
        found = self._told(lambda: self._files.find(f"{self._bucket}/{self._prefix}".rstrip("/")))
        return [path.removeprefix(f"{self._bucket}/{self._prefix}") for path in found]

    def _get(self, name: str) -> Stored:
        from fsspec.asyn import sync

        async def whole() -> Stored:
            found = await self._files._call_s3("get_object", Bucket=self._bucket, Key=self._prefix + name)
            async with found["Body"] as body:
                return Stored(await body.read(), found["ETag"])

        return sync(self._files.loop, whole)  # type: ignore[no-any-return]

    def _call(self, method: str, *, missing: Any = ..., **fields: Any) -> Any:
        return self._told(lambda: self._files.call_s3(method, Bucket=self._bucket, **fields), missing=missing)

    def _told(self, call: Callable[[], _T], missing: Any = ...) -> _T:
        """The call's answer; what went wrong as one of our errors.

        :param missing: the answer where there is no such object.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return call()
        except (OSError, BotoCoreError, ClientError) as error:
            code = _code(error)
            if code in _CONDITION.split():
                raise ConditionFailed(str(error)) from None
            if code in ("NotImplemented", "501"):
                raise NotImplementedError(str(error)) from None
            if missing is not ... and code in ("NoSuchKey", "404"):
                return missing  # type: ignore[no-any-return]
            raise self._cannot(error) from None

    def _cannot(self, error: Exception) -> CannotRun:
        from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError, ProfileNotFound

        code = _code(error)
        if code == "NoSuchBucket":
            return CannotRun(
                f"there is no bucket {self._bucket} for {self.url}", "make it, or mend the URL in stages.yaml"
            )
        if code in _CREDENTIALS.split() or isinstance(
            error, NoCredentialsError | PartialCredentialsError | ProfileNotFound
        ):
            words = " ".join(str(error).split())[:200]
            return CannotRun(
                f"{self.url} refuses us: {words}", "check AWS_ACCESS_KEY_ID and its secret, or AWS_PROFILE"
            )
        if isinstance(error, BotoCoreError | ConnectionError | TimeoutError) or not code:
            words = " ".join(str(error).split())[:200] or type(error).__name__
            return CannotRun(
                f"cannot reach {self.url}: {words}", "check AWS_ENDPOINT_URL and the network; then run it again"
            )
        return CannotRun(
            f"{self.url}: {code}: {' '.join(str(error).split())[:200]}", "run it again; it goes on where it was"
        )


def _code(error: BaseException) -> str:
    """S3's own word for what went wrong, from the answer that s3fs wrapped; "" where there was no answer."""
    response = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    return str(response["Error"].get("Code", "")) if isinstance(response, dict) and "Error" in response else ""


def at_once(work: Callable[[_T], object], things: Iterable[_T]) -> None:
    """Do the same with many things, at most :data:`PARALLEL` at a time; the first error ends it."""
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="push") as pool:
        running = [pool.submit(work, thing) for thing in things]
        try:
            for one in running:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
