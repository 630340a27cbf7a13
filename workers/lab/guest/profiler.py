"""perf for guests: Debian's linux-perf of the guest's architecture, with its own loader and libraries in /kitten/perf.

So perf and the programs that it profiles do not use each other's libraries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from config.models import Target
from workers.base import cache
from workers.lab.guest import debian
from workers.lab.guest.kernel import SUITE

FOLDER = "/kitten/perf"
"""Its folder in a guest. ``FOLDER/loader --library-path FOLDER FOLDER/perf …`` runs it."""

_PACKAGE = "linux-perf"
_PROGRAM = PurePosixPath("/usr/bin/perf")
_LIBRARIES = re.compile(r"lib|zlib1g")  # the dependencies to fetch; perl, python and others only run perf's scripts
_FORMAT = 1  # increase it when other files are kept


def files(target: Target) -> Mapping[str, Path]:
    """Return the profiler and its libraries by their path in a guest; fetch them on first use.

    :raises CannotRun: no apt, no network, a library that no package has.
    """
    key = f"{SUITE}-{target.architecture.debian_arch}-{_FORMAT}"
    folder = cache.entry("guest-perf", key, lambda new: _make(target, new))
    return {f"{FOLDER}/{path.name}": path for path in sorted(folder.iterdir())}


def _make(target: Target, folder: Path) -> None:
    files, libraries = debian.files_and_libraries(target, [_PACKAGE], lambda path: path == _PROGRAM, _LIBRARIES)
    if _PROGRAM not in files:
        raise debian.missing_file(str(_PROGRAM), "profiler")
    (folder / "perf").write_bytes(files[_PROGRAM])
    for soname in debian.needed_sonames(files.values(), libraries):
        (folder / soname).write_bytes(libraries[soname])
    (folder / "loader").symlink_to(debian.loader(folder))
