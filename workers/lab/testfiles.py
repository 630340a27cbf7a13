"""The test files of a package: those of a folder, or of the tar that a build carries."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from workers.base.errors import CannotRun

_MAX_TESTS = 256 * 1024 * 1024  # bytes
FMF_ROOT = ".fmf/version"
"""The file that makes a folder the root of an fmf tree."""


def read_tests(place: Path) -> Mapping[str, bytes]:
    """The test files of a folder or a tar, by name relative to it: a tests/ folder, or an fmf tree that has one.

    :raises CannotRun: when it is neither, is damaged, too large, or holds a name that leaves it.
    """
    hint = "give the tests/ folder of the package, or a tar of it"
    if place.is_dir():
        paths = [path for path in sorted(place.rglob("*")) if path.is_file()]
        names = [(path.relative_to(place), path) for path in paths]
        found = {str(name): path.read_bytes() for name, path in names if name.parts[0] != ".git"}
        size = sum(map(len, found.values()))
    else:
        try:
            found, size = _read_tar(place.read_bytes())
        except FileNotFoundError:
            raise CannotRun(f"{place} is not there", hint) from None
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CannotRun(f"{place} is no tar of tests: {error}", hint) from None
    if size > _MAX_TESTS:
        raise CannotRun(f"{place}: {size} bytes of tests are more than {_MAX_TESTS}", hint)
    for name in found:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise CannotRun(f"{place}: {name} leaves the folder of tests", hint)
    return found


def _read_tar(data: bytes) -> tuple[dict[str, bytes], int]:
    found: dict[str, bytes] = {}
    size = 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            size += member.size
            if size > _MAX_TESTS:
                break
            if not member.isfile() and not member.issym():
                continue
            with contextlib.suppress(KeyError):  # a link to a file stands for it; one to nothing is left out
                if source := archive.extractfile(member):
                    found[str(PurePosixPath(member.name))] = source.read()
    return found, size


def tests_folder(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """What of ``read_tests`` lies in the tests/ folder, by name relative to it; all of it where that is the folder itself.

    A tests/ folder may be an fmf tree of its own. One with a spec or a tests/ folder in it is a dist-git repository.
    """
    folder = {name.removeprefix("tests/"): data for name, data in files.items() if name.startswith("tests/")}
    has_spec = any(name.endswith(".spec") and "/" not in name for name in files)
    return folder if FMF_ROOT in files and (folder or has_spec) else files
