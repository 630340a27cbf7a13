"""The ``packages`` suite: a package's own tests/*.sh, run as root in a guest that holds the package's files.

A script that prints TAP is read line by line; any other passes by its exit status. The scripts run in the order of
their names, each from the folder that holds all of the package's test files.
"""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from config.models import Suite, Target
from workers.errors import CannotRun
from workers.lab import accelerator, console, guest, machine, tap
from workers.lab.kernel import guest_parts
from workers.results import Case
from workers.verify.payload import Entry

_MAX_TESTS = 256 * 1024 * 1024  # bytes of test files
_MEMORY_STEP_MIB = 256  # QEMU's pseries machine takes nothing in between


@dataclass(frozen=True)
class Outcome:
    """What came of a suite."""

    cases: tuple[Case, ...]
    talk: machine.Talk
    accelerator: accelerator.Accelerator
    cpu: str
    kernel: str


def guest_memory(target: Target, payload: int) -> int:
    """Memory of a guest, in MiB, that holds a payload of so many bytes twice: as the archive and as its files."""
    needed = target.machine.memory_mib + 2 * payload / (1 << 20)
    return math.ceil(needed / _MEMORY_STEP_MIB) * _MEMORY_STEP_MIB


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


def run(
    target: Target,
    suite: Suite,
    packages: Sequence[Sequence[Entry]],
    tests: Mapping[str, bytes],
    scratch: Path,
    timeout: float | None = None,
) -> Outcome:
    """Boot a guest with the packages and run the tests.

    :param scratch: a folder for the initramfs.
    :param timeout: seconds; default: the suite's, scaled by the accelerator.
    :raises LaunchFailedError: when QEMU does not start.
    """
    parts = guest_parts(target)
    base = guest.base_archive(target, parts)
    chosen = accelerator.choose(target, parts, base)
    payload = guest.payload_archive(packages, tests)
    initrd = scratch / "initrd"
    with initrd.open("wb") as file:
        file.write(base.read_bytes())
        file.write(payload)
    memory_mib = guest_memory(target, len(payload))
    boot = machine.Boot(target.machine, chosen.name, parts.kernel, initrd, memory_mib)
    limit = timeout or suite.timeout_seconds * chosen.time_factor
    talk = machine.run_guest(boot, limit)
    return Outcome(judge(talk, limit), talk, chosen, boot.cpu, parts.release)


def judge(talk: machine.Talk, limit: float) -> tuple[Case, ...]:
    """The cases of what a guest said. The console's complaints are failing cases, however green the tests are."""
    said = talk.console.decode(errors="replace")
    cases = list(tap.parse(talk.tap.decode(errors="replace")))
    hits = dict.fromkeys(console.hits(said))
    cases += [Case(name=f"console: {hit.rule.name}", outcome="fail", reason=str(hit)) for hit in hits]
    wrong = {
        "timeout": f"the guest did not finish within {limit:.0f} s",
        "too-much": "the guest said more than a test may",
        "stopped": "QEMU stopped the guest: an internal error or a panic",
        "closed": "the guest ended before its report did",
    }
    if talk.ending in wrong:
        last = "\n".join(said.strip().splitlines()[-10:])
        cases.append(Case(name="guest", outcome="fail", reason=wrong[talk.ending], detail=last))
    if not any(case.outcome != "skip" for case in cases):
        cases.append(Case(name="tests", outcome="fail", reason="every test was skipped: nothing was tested"))
    return tuple(cases)
