"""Programs of Debian's packages for guests of any architecture, with every library they load: rpm, perf, sshd, QEMU.

Nothing is installed: the files are taken out of the packages, and those who ask lay them out where no package under test meets
them.
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
    """The wanted files of packages and of all they depend on, by path; and all their libraries, by soname.

    :param dependencies: of what they depend on, only the packages with such a name are worth fetching.
    :raises CannotRun: no apt, no network.
    """
    print(f"{', '.join(packages)}, and what they need, for guests of {target.name}, from {SUITE}", flush=True)  # noqa: T201
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
    """The sonames that programs need, and what these need, the program interpreter among them.

    :param libraries: by soname.
    :param present: sonames that are there anyway; what they need is as well.
    :raises CannotRun: when one is not among the libraries.
    """
    found: set[str] = set()
    waiting = list(programs)
    while waiting:
        for soname in _dynamic(waiting.pop(), _NEEDED):
            if soname in found or soname in present:
                continue
            if soname not in libraries:
                raise CannotRun(
                    f"no package brings {soname}, which a program for guests needs",
                    f"see what Debian's packages of {SUITE} depend on, and adapt workers/lab/guest/debian.py",
                )
            found.add(soname)
            waiting.append(libraries[soname])
    return tuple(sorted(found))


def missing_file(what: str, module: str) -> CannotRun:
    """The complaint about a file that Debian has moved.

    :param module: which of the lab's names it.
    """
    return CannotRun(f"Debian's packages no longer hold {what} where it was", f"adapt workers/lab/{module}.py")


def loader(folder: Path) -> str:
    """Name of the program interpreter among libraries."""
    return next(path.name for path in folder.iterdir() if path.name.startswith("ld"))


def _dynamic(data: bytes, tag: int) -> tuple[str, ...]:
    return Elf(data).dynamic_strings(tag) if data.startswith(MAGIC) else ()
