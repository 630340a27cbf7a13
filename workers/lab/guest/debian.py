"""Programs of Debian's packages for guests of any architecture, with all their libraries: rpm, perf, sshd, QEMU.

No package is installed. The callers extract the files to folders of the guest that no package under test uses.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from config.models import Target
from workers.base.errors import CannotRun
from workers.formats.elf import MAGIC, Elf
from workers.lab.guest.kernel import SUITE, deb_files
from workers.sandbox.apt import AptRoot, with_lists

_NEEDED, _SONAME = 1, 14  # DT_NEEDED, DT_SONAME (elf.h)


def files_and_libraries(
    target: Target,
    packages: Sequence[str],
    wanted: Callable[[PurePosixPath], bool],
    dependencies: re.Pattern[str] | None = None,
) -> tuple[Mapping[PurePosixPath, bytes], Mapping[str, bytes]]:
    """Return files and libraries of packages and their dependencies.

    :param wanted: whether to return the file of this path.
    :param dependencies: fetch only the dependencies whose names match; None: all.
    :returns: path → content of the wanted files; soname → content of all libraries.
    :raises CannotRun: no apt, no network.
    """
    print(f"fetching {', '.join(packages)} of {SUITE} for guests of {target.name}", flush=True)  # noqa: T201
    files: dict[PurePosixPath, bytes] = {}
    libraries: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="kitten-debs-") as folder:

        def fetch(root: AptRoot) -> list[Path]:
            names = [
                name
                for name in root.closure([*packages])
                if name in packages or dependencies is None or dependencies.match(name)
            ]
            return root.download(names, Path(folder))

        for deb in with_lists(SUITE, target.architecture.debian_arch, fetch):
            for path, data in deb_files(deb):
                if wanted(path):
                    files[path] = data()
                elif ".so" in path.name and path.parent.name in ("lib", "lib64", target.architecture.triplet):
                    content = data()
                    libraries.update(dict.fromkeys(_dynamic(content, _SONAME) or (path.name,), content))
    return files, libraries


def needed_sonames(
    programs: Iterable[bytes], libraries: Mapping[str, bytes], present: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the sonames of all libraries that programs need, directly or not, including the program interpreter.

    :param libraries: soname → content.
    :param present: sonames that the guest already has, with their dependencies.
    :raises CannotRun: if one is not among the libraries.
    """
    sonames: set[str] = set()
    unread = list(programs)
    while unread:
        for soname in _dynamic(unread.pop(), _NEEDED):
            if soname in sonames or soname in present:
                continue
            if soname not in libraries:
                raise CannotRun(
                    f"no package has the library {soname}, which a program for guests needs",
                    f"look for its package in Debian {SUITE}, and adapt workers/lab/guest/debian.py",
                )
            sonames.add(soname)
            unread.append(libraries[soname])
    return tuple(sorted(sonames))


def missing_file(what: str, module: str) -> CannotRun:
    """Return the error for a file that Debian's packages no longer have at the expected path.

    :param module: the module of workers/lab/guest that has the path.
    """
    return CannotRun(f"Debian's packages do not have {what} at its path", f"adapt workers/lab/guest/{module}.py")


def loader(folder: Path) -> str:
    """Return the name of the program interpreter in a folder of libraries."""
    return next(path.name for path in folder.iterdir() if path.name.startswith("ld"))


def _dynamic(data: bytes, tag: int) -> tuple[str, ...]:
    return Elf(data).dynamic_strings(tag) if data.startswith(MAGIC) else ()
