"""The ``packages`` suite: a package's own tests/*.sh, run as root in a guest that holds the package's files.

A script that prints TAP is read line by line; any other passes by its exit status. The scripts run in the order of
their names, each from the folder that holds all of the package's test files.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import click

from config.models import Target
from workers.errors import CannotRun
from workers.lab import dependencies, guest, saved
from workers.lab.judge import judge
from workers.lab.kernel import guest_parts
from workers.lab.suites import Report, Request
from workers.results import Case
from workers.verify.header import Header, MalformedError, read_header
from workers.verify.payload import Entry, unpack

_MAX_TESTS = 256 * 1024 * 1024  # bytes of test files
_MAX_PAYLOAD = 1024**3  # bytes one package may unpack to in a guest


def read_tests(place: Path) -> Mapping[str, bytes]:
    """The test files of a folder or a tar, by name relative to it.

    :raises CannotRun: when it is neither, is damaged, too large, or holds a name that leaves it.
    """
    mend = "give the tests/ folder of the package, or a tar of it"
    if place.is_dir():
        found = {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
        size = sum(map(len, found.values()))
    else:
        try:
            found, size = _read_tar(place.read_bytes())
        except FileNotFoundError:
            raise CannotRun(f"{place} is not there", mend) from None
        except (tarfile.TarError, EOFError, OSError) as error:
            raise CannotRun(f"{place} is no tar of tests: {error}", mend) from None
    if size > _MAX_TESTS:
        raise CannotRun(f"{place}: {size} bytes of tests are more than {_MAX_TESTS}", mend)
    for name in found:
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise CannotRun(f"{place}: {name} leaves the folder of tests", mend)
    return found


def _read_tar(data: bytes) -> tuple[dict[str, bytes], int]:
    found: dict[str, bytes] = {}
    size = 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            size += member.size
            if size > _MAX_TESTS:
                break
            if member.isfile() and (source := archive.extractfile(member)):
                found[str(PurePosixPath(member.name))] = source.read()
    return found, size


def scripts(tests: Mapping[str, bytes]) -> tuple[str, ...]:
    """The test scripts among the files: *.sh at the top, not in folders below."""
    return tuple(sorted(name for name in tests if name.endswith(".sh") and "/" not in name))


def run(request: Request) -> Report:
    """Run the package's tests in a guest that holds its files.

    :raises CannotRun: nothing to test, another target's package, a library nobody brings, no QEMU, no guest kernel.
    """
    target = request.target
    if not request.packages:
        raise CannotRun("suite packages has no package", "give PATHs, or --build URL")
    if not scripts(request.tests):
        why = "it has no tests/*.sh: nothing was tested. Add tests/smoke.sh to its dist-git repository"
        return Report((Case(name="tests", outcome="fail", reason=why),), "none", "", "", "")
    payloads = laid_out(target, request.state, request.packages, request.scratch, request.extra)
    base = guest.base(target)
    limit = request.suite.timeout_seconds * saved.time_factor(base)
    with saved.ready(base, guest.payload_archive(payloads, request.tests), request.logs) as running:
        talk = running.finish(limit)
    cpu = target.machine.cpu_kvm if base.accelerator.name == "kvm" else target.machine.cpu
    return Report(judge(talk, limit), base.accelerator.name, base.accelerator.reason, cpu, base.parts.release)


def laid_out(
    target: Target, state: Path, packages: Sequence[Path], scratch: Path, extra: Sequence[Path] = ()
) -> tuple[tuple[Entry, ...], ...]:
    """The files of packages and of what they need of the target's staged packages, unpacked below ``scratch``.

    :raises CannotRun: another target's package, a damaged one, a library nobody brings.
    """
    headers = _headers(target, packages)
    needed = [*extra, *_needed(target, state, headers, extra)]
    for path in needed:
        click.echo(f"with {path.name}")
    every = {**_headers(target, needed), **headers}
    return tuple(
        _payload(path, header, scratch / "payloads" / str(number)) for number, (path, header) in enumerate(every.items())
    )


def _headers(target: Target, packages: Sequence[Path]) -> dict[Path, Header]:
    """The headers of the packages that go into a guest: not the debuginfo, not the source.

    :raises CannotRun: for a package of another architecture, and a damaged one.
    """
    found = {}
    for path in packages:
        try:
            header = read_header(path)
        except (MalformedError, FileNotFoundError) as error:
            raise CannotRun(f"{path.name}: {error}", "build the package again") from None
        if header.arch not in (target.rpm_arch, "noarch", "src"):
            raise CannotRun(
                f"{path.name} is for {header.arch}, not {target.rpm_arch}", "give the package's own --target"
            )
        if header.arch != "src" and not header.is_debug:
            found[path] = header
    return found


def _needed(target: Target, state: Path, headers: Mapping[Path, Header], extra: Sequence[Path]) -> tuple[Path, ...]:
    """Staged packages that bring the libraries the tested ones need."""
    present = [library.name for library in guest_parts(target).libraries]
    staged = dependencies.staged_headers(state / "staged" / target.name, target.rpm_arch)
    there = [*headers.values(), *_headers(target, extra).values()]
    chosen, unresolved = dependencies.resolve(there, present, staged)
    if unresolved:
        raise CannotRun(
            f"nobody brings {', '.join(sorted(unresolved))} for {target.name}",
            "stage the package that provides it, or name its file: --with PATH",
        )
    return chosen


def _payload(path: Path, header: Header, scratch: Path) -> tuple[Entry, ...]:
    try:
        return unpack(path, header, scratch, _MAX_PAYLOAD)
    except MalformedError as error:
        raise CannotRun(f"{path.name}: {error}", "build the package again") from None
