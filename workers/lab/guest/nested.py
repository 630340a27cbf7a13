"""A guest inside a guest: the QEMU that runs it there, and the script that passes on its report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.identity import identity_of
from config.models import Target
from workers.base import cache
from workers.lab.guest import debian
from workers.lab.guest.kernel import SUITE, guest_parts
from workers.lab.machine.command_line import TAP_PORT

_SCRIPT = Path(__file__).with_name("nested.sh")


def script(qemu: Sequence[str], limit: float) -> bytes:
    """A test for a guest that boots another one inside it.

    :param qemu: QEMU's command line there, without the port of the report and the serial port.
    :param limit: seconds the guest inside gets.
    """
    body = _SCRIPT.read_text().replace("TAP_PORT", TAP_PORT)
    return f"limit={limit:.0f}\nqemu=({shlex.join(qemu)})\n{body}".encode()


def emulator(target: Target, files: Sequence[str] = (), packages: Sequence[str] = ()) -> Mapping[str, Path]:
    """QEMU of the target's own architecture and every library it loads that a guest does not have, by path in the guest.

    :param files: paths of further files: what its machine needs of firmware, and modules of QEMU.
    :param packages: Debian packages that hold them, where QEMU does not depend on these.
    :raises CannotRun: no apt, no network, or a file that Debian's packages do not hold.
    """
    name = target.machine.emulator
    wanted_packages = [target.architecture.emulator_package, *packages]
    present = {library.name for library in guest_parts(target).libraries}
    wanted = (f"/usr/bin/{name}", *files)

    def make(folder: Path) -> None:
        found, libraries = debian.files_and_libraries(target, wanted_packages, lambda path: str(path) in wanted)
        if lacking := set(wanted) - set(map(str, found)):
            raise debian.missing_file(min(lacking), "nested")
        whole = {str(path).removeprefix("/"): data for path, data in found.items()}
        sonames = debian.needed_sonames(found.values(), libraries, present)
        whole |= {f"usr/lib64/{soname}": libraries[soname] for soname in sonames}
        for path, data in whole.items():
            # Where Debian has /usr/lib/TRIPLET a guest has a link to /usr/lib64 (guest.py), and links are not written through.
            place = folder / "root" / path.replace(f"usr/lib/{target.architecture.triplet}/", "usr/lib64/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)

    key = identity_of(
        {"suite": SUITE, "packages": wanted_packages, "files": wanted, "present": sorted(present), "format": 2}
    )
    root = cache.entry("guest-emulators", f"{target.architecture.debian_arch}-{key[:16]}", make) / "root"
    return {f"/{path.relative_to(root)}": path for path in sorted(root.rglob("*")) if path.is_file()}
