"""A dist-git work tree and its tarballs → one source package. rpm runs in the sandbox, because a spec may run a shell.

The same commit gives the same bytes: times are from the changelog, owners from the sandbox, the order is rpm's.
"""

from __future__ import annotations

import calendar
import os
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from config.models import Site, SourcePackage
from config.nevra import is_debug
from config.placement import decide, hint
from workers.base.errors import CheckFailed
from workers.base.run import CommandFailed
from workers.formats import rpm_file

RECIPE = 3
"""Part of each source's key. Increase it when the result changes for the same input."""
SECONDS = 180.0  # s for rpm to read a spec and pack its sources

_CHANGELOG_ENTRY = re.compile(r"^\*\s+\w{3}\s+(\w{3})\s+(\d{1,2})\s+(\d{4})\b", re.MULTILINE)

# Only rpm knows which packages a spec makes. It writes them to a file, so that warnings are not among them.
_SCRIPT = """
set -eu
rpmspec --target "$2" -q --builtrpms --queryformat '%{name}\\n' "SPECS/$1" >answers/binaries
rpmbuild --target "$2" -bs "SPECS/$1"
"""


@dataclass(frozen=True)
class Srpm:
    """A source package, and facts from its spec."""

    path: Path
    nevr: str
    build_requires: tuple[str, ...]
    binaries: tuple[str, ...]


def only_spec(folder: Path) -> Path:
    """Return the only spec of a work tree.

    :raises CheckFailed: the tree has no spec, or several.
    """
    specs = sorted(path for path in folder.glob("*.spec") if path.is_file())
    if len(specs) != 1:
        found = ", ".join(path.name for path in specs) or "none"
        raise CheckFailed(f"a dist-git repository must have one spec in its top folder; found: {found}")
    return specs[0]


def changelog_seconds(spec: str) -> int | None:
    """Return noon UTC of a spec's newest changelog entry, as rpm does, in seconds since 1970; None without one."""
    match = _CHANGELOG_ENTRY.search(spec, max(spec.find("\n%changelog"), 0))
    months = list(calendar.month_abbr)
    if not match or match[1] not in months:
        return None
    return calendar.timegm((int(match[3]), months.index(match[1]), int(match[2]), 12, 0, 0))


def make(site: Site, package: SourcePackage, folder: Path, tarballs: Path, scratch: Path, seconds: int) -> Srpm:
    """Pack the spec of ``folder``, the files beside it and those of ``tarballs``.

    rpm reads the spec once, for the package's first target, which decides about %ifarch.

    :param scratch: an empty folder, rpm's working folder.
    :param seconds: time of each file in the source package, in seconds since 1970.
    :raises CheckFailed: the spec has an error; with file and line first.
    """
    from workers.sandbox.bubblewrap import run_in_base

    spec = only_spec(folder)
    for name in ("SPECS", "SOURCES", "SRPMS", "answers"):
        (scratch / name).mkdir()
    _copy([spec], scratch / "SPECS", seconds)
    beside = [
        p for p in folder.iterdir() if p.is_file() and p != spec and p.name != "sources" and not p.name.startswith(".")
    ]
    _copy(sorted(beside), scratch / "SOURCES", seconds)
    _copy(sorted(tarballs.iterdir()), scratch / "SOURCES", seconds)
    target = site.targets_of(package)[0]
    argv = ["sh", "-c", _SCRIPT, "source", spec.name, f"{target.rpm_arch}-linux"]
    try:
        run_in_base(site, argv, binds={scratch: ("/builddir", True)}, target=target, timeout=SECONDS)
    except CommandFailed as error:
        what = (
            f"rpm did not end within {SECONDS:.0f} s" if error.timed_out else first_error(error.done.output, spec.name)
        )
        raise CheckFailed(what) from None
    path = next((scratch / "SRPMS").glob("*.src.rpm"))
    rpm_file.require_unsigned_package(path)
    header = rpm_file.header_of(path)
    if header.name != package.name:
        raise CheckFailed(f"{spec.name} names its package {header.name}; the repository is {package.name}'s")
    binaries = (scratch / "answers" / "binaries").read_text().split()
    return Srpm(
        path,
        f"{header.name}-{header.nevra.evr}",
        tuple(sorted({str(dependency) for dependency in header.requires})),
        tuple(sorted({name for name in binaries if not is_debug(name)})),
    )


def _copy(paths: Iterable[Path], to: Path, seconds: int) -> None:
    for path in paths:
        copy = to / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o644)
        os.utime(copy, (seconds, seconds))


def first_error(output: str, spec: str) -> str:
    """Return the first error of rpm as ``FILE:LINE: message``, or without a line if rpm names none."""
    errors = [line.removeprefix("error: ").strip() for line in output.splitlines() if line.startswith("error: ")]
    for error in errors:
        if match := re.match(r"(?:\S+: )?line (\d+): (.+)", error):
            return f"{spec}:{match[1]}: {match[2]}"
    if errors:
        return f"{spec}: {errors[0].replace('/builddir/SOURCES/', '').replace('/builddir/SPECS/', '')}"
    last = output.strip().splitlines()[-1:] or ["rpm failed without a message"]
    return f"{spec}: {last[0]}"


def check_binaries(package: SourcePackage, spec: str, binaries: Iterable[str], file: str) -> None:
    """Check that the configuration lists every package that a spec makes.

    :param file: the package's YAML file, for the message.
    :raises CheckFailed: a package is not listed.
    """
    if package.binaries and (strays := sorted(set(binaries) - set(package.binaries))):
        raise CheckFailed(
            f"{spec} makes {', '.join(strays)}, not listed in {file}: add to binaries there, or remove from the spec"
        )


def check_placement(site: Site, package: SourcePackage, spec: str, binaries: Iterable[str]) -> None:
    """Check that every binary package of a spec has a repository, before anything is built.

    A published package keeps its repository, which is not known here; but it had a place when it was published.

    :raises CheckFailed: a binary package has no place; names each, and what to add.
    """
    unplaced = {
        binary
        for binary in (*binaries, package.name)
        for target in site.targets_of(package)
        if decide(site.repositories, package, binary, target.name) is None
    }
    if unplaced:
        lines = [f"add {hint(package.name, binary)}" for binary in sorted(unplaced)]
        what = f"{spec} of {package.name} makes {', '.join(sorted(unplaced))}, which nothing places in a repository"
        raise CheckFailed(f"{what}: {'; '.join(lines)}")


def pack_tests(folder: Path, to: Path, seconds: int) -> bool:
    """Pack a work tree's tests as a tar; return false if it has none. The same content gives the same bytes.

    An fmf tree (with ``.fmf/version``) is packed completely, because its plans and tests may name any file in it. Else
    the content of ``tests/`` is packed.
    """
    tests = folder if (folder / ".fmf" / "version").is_file() else folder / "tests"
    if not tests.is_dir():
        return False
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tests.rglob("*")):
            entry = archive.gettarinfo(path, path.relative_to(tests).as_posix())
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            entry.mtime = seconds
            entry.mode = 0o777 if entry.issym() else 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            if entry.isreg():
                with path.open("rb") as content:
                    archive.addfile(entry, content)
            else:
                archive.addfile(entry)
    return True
