"""The result files of a published build, byte for byte.

Statements name these files by checksum. So each file is read once, and all uses share the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import TypeVar

from workers.artifacts.artifact_store import MAX_RESULT
from workers.base.errors import CannotRun
from workers.results import BuildResult, Result, SourceResult, TestResult, VerifyResult

_Result = TypeVar("_Result", bound=Result)


@dataclass(frozen=True)
class Evidence:
    """The result files of one build; missing files are empty."""

    build_json: bytes = b""
    verify_json: bytes = b""
    test_json: bytes = b""
    source: SourceResult | None = None
    """The result of the source that was built, if the caller knows it."""

    @cached_property
    def build(self) -> BuildResult | None:
        """The result of the build.

        :raises CannotRun: the file is not such a result; the same for ``verify`` and ``test``.
        """
        return _parse("build.json", self.build_json, BuildResult)

    @cached_property
    def verify(self) -> VerifyResult | None:
        """The proof, the result of ``kitten verify``."""
        return _parse("verify.json", self.verify_json, VerifyResult)

    @cached_property
    def test(self) -> TestResult | None:
        """The result of ``kitten test``."""
        return _parse("test.json", self.test_json, TestResult)

    @property
    def files(self) -> dict[str, bytes]:
        """Name → content of the files that exist."""
        named = {"build.json": self.build_json, "verify.json": self.verify_json, "test.json": self.test_json}
        return {name: content for name, content in named.items() if content}

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of one of the files."""
        return sha256(self.files[name]).hexdigest()


def evidence_at(url: str) -> Evidence:
    """Read a build's result files.

    :param url: fsspec URL or absolute path of the build's folder.
    :return: without files if the folder was removed: retention removes builds, but not their published packages.
    :raises CannotRun: the store cannot be read, or a file is too large.
    """
    build, verify, test = (_read(f"{url.rstrip('/')}/{name}.json") for name in ("build", "verify", "test"))
    return Evidence(build, verify, test)


def _read(url: str) -> bytes:
    import fsspec

    try:
        with fsspec.open(url, "rb") as stream:
            content: bytes = stream.read(MAX_RESULT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except (OSError, ValueError, ImportError) as error:
        raise CannotRun(f"cannot read {url}: {error}", "check the address and its credentials") from None
    if len(content) > MAX_RESULT:
        raise CannotRun(f"{url} has more than {MAX_RESULT >> 20} MiB", "no result file is so large; build it again")
    return content


def _parse(name: str, content: bytes, kind: type[_Result]) -> _Result | None:
    if not content:
        return None
    try:
        return kind.read(content.decode("utf-8"))
    except ValueError as error:
        raise CannotRun(f"{name}: {error}", "make it again with this version of kitten") from None
