"""perf for guests: Debian's linux-perf of the guest's architecture, with its own loader and libraries below /kitten/perf.

So the programs that are profiled never meet its libraries, nor it theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from config.models import Target
from workers import cache
from workers.apt import private_root
from workers.errors import CannotRun
from workers.lab.kernel import SUITE, deb_files
from workers.verify.elf import PT_INTERP, Elf
from workers.verify.header import MalformedError

FOLDER = "/kitten/perf"
"""Where it lies in a guest. ``FOLDER/loader --library-path FOLDER FOLDER/perf …`` runs it."""

_PACKAGE = "linux-perf"
_LIBRARIES = re.compile(r"(lib|zlib1g).*")  # of what it depends on; perl, python and the rest only run scripts for it
_NEEDED, _SONAME = 1, 14  # tags of the dynamic table
_FORMAT = 1  # changes when what is kept changes


def files(target: Target) -> Mapping[str, Path]:
    """The profiler and its libraries by their path in a guest, fetched on first use.

    :raises CannotRun: no apt, no network, a library that no package brings.
    """
    key = f"{SUITE}-{target.toolchain.debian_arch}-{_FORMAT}"
    folder = cache.entry("guest-perf", key, lambda made: _make(target, made))
    return {f"{FOLDER}/{path.name}": path for path in sorted(folder.iterdir())}


def _make(target: Target, folder: Path) -> None:
    root = private_root(SUITE, target.toolchain.debian_arch)
    packages = [name for name in root.closure([_PACKAGE]) if name == _PACKAGE or _LIBRARIES.fullmatch(name)]
    print(f"perf for guests of {target.name}: {_PACKAGE} and its libraries from {SUITE}", flush=True)  # noqa: T201
    debs = folder / "debs"
    libraries: dict[str, bytes] = {}
    for deb in root.download(packages, debs):
        for path, data in deb_files(deb):
            if path == PurePosixPath("/usr/bin/perf"):
                (folder / "perf").write_bytes(data())
            elif ".so" in path.name and path.parent.name == target.toolchain.triplet:
                libraries |= _named(path.name, data())
        deb.unlink()
    debs.rmdir()
    program = Elf((folder / "perf").read_bytes())
    loader = next(segment for segment in program.segments if segment.type == PT_INTERP)
    text = bytes(program.data[loader.offset : loader.offset + loader.file_size]).rstrip(b"\0").decode()
    wanted, kept = [PurePosixPath(text).name, *program.dynamic_strings(_NEEDED)], set[str]()
    (folder / "loader").symlink_to(wanted[0])
    while wanted:
        name = wanted.pop()
        if name not in libraries:
            raise CannotRun(f"no library of {_PACKAGE} brings {name}", "adapt workers/lab/profiler.py")
        if name not in kept:
            kept.add(name)
            (folder / name).write_bytes(libraries[name])
            wanted += Elf(libraries[name]).dynamic_strings(_NEEDED)


def _named(name: str, data: bytes) -> Mapping[str, bytes]:
    """A library under the name others ask for; nothing where this is none."""
    try:
        names = Elf(data).dynamic_strings(_SONAME)
    except MalformedError:  # a linker script
        return {}
    return {(names[0] if names else name): data}
