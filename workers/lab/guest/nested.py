"""A guest inside a guest: QEMU for the outer guest, and a script that runs it and forwards the inner guest's report."""

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
    """Return a test script that boots another guest inside the guest.

    :param qemu: QEMU's command line in the guest, without the TAP port and the serial port.
    :param limit: time limit for the inner guest, in seconds.
    """
    body = _SCRIPT.read_text().replace("TAP_PORT", TAP_PORT)
    return f"limit={limit:.0f}\nqemu=({shlex.join(qemu)})\n{body}".encode()


def emulator(target: Target, files: Sequence[str] = (), packages: Sequence[str] = ()) -> Mapping[str, Path]:
    """Return QEMU of the target's architecture, with the libraries that a guest does not have, by path in the guest.

    :param files: paths of further files: firmware of the machine, and modules of QEMU.
    :param packages: Debian packages with these files that QEMU does not depend on.
    :raises CannotRun: no apt, no network, or a file that the Debian packages do not have.
    """
    name = target.machine.emulator
    wanted_packages = [target.architecture.emulator_package, *packages]
    present = {library.name for library in guest_parts(target).libraries}
    wanted = (f"/usr/bin/{name}", *files)

    def make(folder: Path) -> None:
        contents, libraries = debian.files_and_libraries(target, wanted_packages, lambda path: str(path) in wanted)
        if missing := set(wanted) - set(map(str, contents)):
            raise debian.missing_file(min(missing), "nested")
        by_path = {str(path).removeprefix("/"): data for path, data in contents.items()}
        sonames = debian.needed_sonames(contents.values(), libraries, present)
        by_path |= {f"usr/lib64/{soname}": libraries[soname] for soname in sonames}
        for path, data in by_path.items():
            # In a guest /usr/lib/TRIPLET is a link to /usr/lib64 (file_system.py). Archives cannot write through links.
            place = folder / "root" / path.replace(f"usr/lib/{target.architecture.triplet}/", "usr/lib64/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)

    key = identity_of(
        {"suite": SUITE, "packages": wanted_packages, "files": wanted, "present": sorted(present), "format": 2}
    )
    root = cache.entry("guest-emulators", f"{target.architecture.debian_arch}-{key[:16]}", make) / "root"
    return {f"/{path.relative_to(root)}": path for path in sorted(root.rglob("*")) if path.is_file()}
