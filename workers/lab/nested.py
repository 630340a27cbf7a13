"""A guest inside a guest: the QEMU that runs it there, and the script that passes on its report."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from config.identity import identity_of
from config.models import Target
from workers import cache
from workers.apt import private_root
from workers.errors import CannotRun
from workers.lab import kernel
from workers.lab.launch import DEBIAN_PACKAGES
from workers.lab.machine import TAP_PORT
from workers.verify.elf import Elf

_SCRIPT = Path(__file__).with_name("nested.sh")
_NEEDED, _SONAME = 1, 14  # DT_NEEDED, DT_SONAME (elf.h)
_ELF = b"\x7fELF"


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
    wanted_packages = [DEBIAN_PACKAGES[name], *packages]
    present = {library.name for library in kernel.guest_parts(target).libraries}
    wanted = (f"/usr/bin/{name}", *files)

    def make(folder: Path) -> None:
        root = private_root(kernel.SUITE, target.toolchain.debian_arch)
        closure = root.closure(wanted_packages)
        what = " and ".join(wanted_packages)
        print(f"{what}, and what they need, for guests of {target.name}, from {kernel.SUITE}", flush=True)  # noqa: T201
        debs = root.download(closure, folder / "debs")
        for path, data in _chosen(debs, wanted, present).items():
            # Where Debian has /usr/lib/TRIPLET a guest has a link to /usr/lib64 (guest.py), and links are not written through.
            inside = path.removeprefix("/").replace(f"usr/lib/{target.toolchain.triplet}/", "usr/lib64/")
            place = folder / "root" / inside
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        shutil.rmtree(folder / "debs")

    key = identity_of(
        {"suite": kernel.SUITE, "packages": wanted_packages, "files": wanted, "present": sorted(present), "format": 2}
    )
    root = cache.entry("guest-emulators", f"{target.toolchain.debian_arch}-{key[:16]}", make) / "root"
    return {f"/{path.relative_to(root)}": path for path in sorted(root.rglob("*")) if path.is_file()}


def _chosen(debs: Sequence[Path], wanted: Sequence[str], present: Collection[str]) -> Mapping[str, bytes]:
    """The wanted files of Debian packages, and every library they load that is not present, as /usr/lib64/SONAME."""
    files: dict[str, bytes] = {}
    libraries: dict[str, bytes] = {}
    for deb in debs:
        for path, data in kernel.deb_files(deb):
            if str(path) in wanted:
                files[str(path)] = data()
            elif ".so" in path.suffixes and path.parent.parent.name == "lib" and (content := data()).startswith(_ELF):
                libraries.update(dict.fromkeys(Elf(content).dynamic_strings(_SONAME), content))
    if missing := set(wanted) - set(files):
        raise CannotRun(f"Debian's packages no longer hold {min(missing)}", "adapt workers/lab/nested.py")
    waiting = [data for data in files.values() if data.startswith(_ELF)]
    while waiting:
        for name in Elf(waiting.pop()).dynamic_strings(_NEEDED):
            place = f"/usr/lib64/{name}"
            if name in present or place in files:
                continue
            if name not in libraries:
                raise CannotRun(f"none of Debian's packages holds {name}", "adapt workers/lab/nested.py")
            files[place] = libraries[name]
            waiting.append(libraries[name])
    return files
