"""The test files of a package, from a folder or from the tar that came with a build."""

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
    """Return the test files of a folder or tar, by name relative to it: a tests/ folder, or an fmf tree with one.

    :raises CannotRun: if it is missing, damaged or too large, or if a name leads out of it.
    """
    hint = "give the tests/ folder of the package, or a tar of it"
    if place.is_dir():
        paths = [path for path in sorted(place.rglob("*")) if path.is_file()]
        names = [(path.relative_to(place), path) for path in paths]
        files = {str(name): path.read_bytes() for name, path in names if name.parts[0] != ".git"}
        size = sum(map(len, files.values()))
    else:
        try:
            files, size = _read_tar(place.read_bytes())
        except FileNotFoundError:
            raise CannotRun(f"{place} does not exist", hint) from None
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CannotRun(f"{place} is no tar of tests: {error}", hint) from None
    if size > _MAX_TESTS:
        raise CannotRun(f"{place}: {size} bytes of tests are more than {_MAX_TESTS}", hint)
    for name in files:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise CannotRun(f"{place}: {name} leads out of the folder of tests", hint)
    return files


def _read_tar(data: bytes) -> tuple[dict[str, bytes], int]:
    files: dict[str, bytes] = {}
    size = 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            size += member.size
            if size > _MAX_TESTS:
                break
            if not member.isfile() and not member.issym():
                continue
            with contextlib.suppress(KeyError):  # the tar has no target of this link: leave it out
                if source := archive.extractfile(member):  # of a link: its target
                    files[str(PurePosixPath(member.name))] = source.read()
    return files, size


def tests_folder(files: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return the files in the tests/ folder, by name relative to it; all files if they are the tests/ folder already.

    A tests/ folder may be an fmf tree itself. An fmf tree with a spec file or a tests/ folder is a dist-git repository.

    :param files: from ``read_tests``.
    """
    folder = {name.removeprefix("tests/"): data for name, data in files.items() if name.startswith("tests/")}
    has_spec = any(name.endswith(".spec") and "/" not in name for name in files)
    return folder if FMF_ROOT in files and (folder or has_spec) else files
