"""The guest's file system: a base for each target, made once, and the payload of one test.

The layout is that of Enterprise Linux (/lib64 → usr/lib64 and so on). The C library is Debian's, of the same
architecture. Debian's program interpreter searches /usr/lib/TRIPLET, which is a link to /usr/lib64 here. So programs
find the libraries of the packages and of Debian, without a cache file or an environment variable, which a test could
lose.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.models import Target
from workers.base import cache
from workers.formats.cpio import MERGED, Archive
from workers.formats.rpm_payload import Entry
from workers.lab.guest import accelerator, programs
from workers.lab.guest.kernel import GuestParts, guest_parts
from workers.lab.machine import cloud_images
from workers.lab.machine.command_line import TAP_PORT

_APPLETS = """
[ awk base64 basename blockdev cat chgrp chmod chown clear cmp cp cpio cut date dd df diff dirname dmesg dos2unix
du echo expand expr factor false fold free getopt grep egrep fgrep gunzip gzip head hexdump hostname id
insmod kill link ln ls lsmod md5sum mkdir mkfifo mknod mktemp mount mv nproc od paste pidof poweroff
printf ps pwd readlink realpath reset rm rmdir rmmod sed seq sha1sum sha256sum sha512sum shred shuf sleep sort
stat strings stty sync sysctl tac tail tee test touch tr true truncate tty umount uname unexpand uniq unlink
uptime usleep uudecode uuencode wc which whoami xxd yes zcat
"""
APPLETS = tuple(_APPLETS.split())
"""Programs for tests. No applet that runs other programs (see ``kernel.PROGRAMS``), and no compressor except gzip."""

_FOLDERS = (
    *("proc", "sys", "dev", "run", "tmp", "root", "etc", "var/tmp", "mnt"),
    *("kitten/tests", "kitten/modules", "kitten/bin"),
)
_INIT = Path(__file__).with_name("init.sh")
_CORE = b"""\
#!/usr/bin/busybox sh
echo "<3>lab: core dump: $1 by signal $2" >/dev/kmsg
exec /usr/bin/busybox cat >/dev/null
"""


@dataclass(frozen=True)
class Base:
    """The parts that every guest of a target starts with, and its accelerator on this host."""

    target: Target
    parts: GuestParts
    archive: Path
    accelerator: accelerator.Accelerator
    image: Path | None = None
    """The cloud image that boots instead of kernel and archive."""


def base(target: Target, parts: GuestParts | None = None) -> Base:
    """Return the base of a target's guests. Fetch and make it, and try KVM, on first use.

    :param parts: the parts with a kernel under test (``packaged``), which boots instead of a cloud image.
    :raises CannotRun: no apt, no network, no tools, an image with a wrong checksum.
    """
    given = parts is not None
    parts = parts or guest_parts(target)
    archive = base_archive(target, parts)
    chosen = accelerator.choose(target, parts, archive)
    if given or target.machine.image is None:
        return Base(target, parts, archive, chosen)
    image = cloud_images.fetch(target.machine.image)
    return Base(target, dataclasses.replace(parts, image=image.name), archive, chosen, image)


def base_archive(target: Target, parts: GuestParts) -> Path:
    """Return the archive that every guest of the target starts with, from the cache."""
    # The name depends on all inputs: the start script, this file, the lab's programs, and the parts.
    init = init_script()
    renew = programs.assemble(target, "renew")
    inputs = [init, Path(__file__).read_bytes(), renew, parts.folder.name.encode()]
    recipe = hashlib.sha256(b"\0".join(inputs)).hexdigest()

    def make(folder: Path) -> None:
        (folder / "base.cpio").write_bytes(_base(target, parts, init, renew))

    return cache.entry("initramfs", f"{target.architecture.triplet}-{recipe[:16]}", make) / "base.cpio"


def init_script() -> bytes:
    """Return init.sh with the name of its TAP port."""
    return _INIT.read_text().replace("TAP_PORT", TAP_PORT).encode()


def for_image(base: Base) -> bytes:
    """Return the archive of the files that a cloud image lacks: init.sh, its programs, and its folders."""
    archive = Archive()
    busybox = next(program for program in base.parts.programs if program.name == "busybox")
    archive.file("/kitten/bin/busybox", busybox.read_bytes(), 0o755)
    archive.file("/kitten/bin/renew", programs.assemble(base.target, "renew"), 0o755)
    archive.file("/kitten/core", _CORE.replace(b"/usr/bin/busybox", b"/kitten/bin/busybox"), 0o755)
    archive.file("/kitten/init.sh", init_script(), 0o755)
    archive.file("/kitten/modules/order", b"")  # the image has its own modules, and udev loads them
    archive.folder("/kitten/tests")
    return archive.finish()


def _base(target: Target, parts: GuestParts, init: bytes, renew: bytes) -> bytes:
    archive = Archive()
    for name in MERGED:
        archive.merged_link(name)
        archive.folder(f"/usr/{name}")
    for name in _FOLDERS:
        archive.folder(f"/{name}", 0o1777 if name.endswith("tmp") else 0o755)
    archive.character_device("/dev/console", 5, 1)
    archive.character_device("/dev/null", 1, 3)
    archive.link(f"/usr/lib/{target.architecture.triplet}", "../lib64")
    for library in parts.libraries:
        archive.file(f"/usr/lib64/{library.name}", library.read_bytes(), 0o755)
        if library.name.startswith("ld"):  # aarch64 and s390x programs name their interpreter in /lib
            archive.link(f"/usr/lib/{library.name}", f"../lib64/{library.name}")
    for program in parts.programs:
        archive.file(f"/usr/bin/{program.name}", program.read_bytes(), 0o755)
    for applet in APPLETS:
        archive.link(f"/usr/bin/{applet}", "busybox")
    archive.link("/usr/bin/sh", "bash")
    for module in parts.modules:
        archive.file(f"/kitten/modules/{module.name}", module.read_bytes())
    archive.file("/kitten/modules/order", "".join(f"{module.stem}\n" for module in parts.modules).encode())
    archive.file("/kitten/core", _CORE, 0o755)
    archive.file("/kitten/bin/renew", renew, 0o755)
    archive.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    archive.file("/etc/group", b"root:x:0:\nnobody:x:65534:\n")
    archive.file("/init", init, 0o755)
    return archive.finish()


def payload_archive(
    packages: Iterable[Iterable[Entry]] = (),
    tests: Mapping[str, bytes] | None = None,
    files: Mapping[str, bytes | Path] | None = None,
    modules: Sequence[Path] = (),
) -> bytes:
    """Return the archive of one test.

    :param packages: the files of packages, for the paths where rpm installs them.
    :param tests: name relative to /kitten/tests → content; the guest runs each ``*.sh`` at the top level, by name.
    :param files: absolute path → content of further files; executable.
    :param modules: kernel modules for /kitten/modules; a test loads them.
    :raises ValueError: if a name leads out of its folder.
    """
    archive = Archive()
    for entries in packages:
        for entry in entries:
            if entry.kind == "folder":
                if entry.path.strip("/") not in MERGED:
                    archive.folder(entry.path, entry.mode)
            elif entry.kind == "link":
                archive.link(entry.path, entry.target)
            elif entry.content is not None:  # a file
                archive.file(entry.path, entry.content.read_bytes(), entry.mode)
    for module in modules:
        archive.file(f"/kitten/modules/{module.name}", module.read_bytes())
    for name, content in (files or {}).items():
        archive.file(name, content.read_bytes() if isinstance(content, Path) else content, 0o755)
    for name, data in (tests or {}).items():
        archive.file(f"/kitten/tests/{name}", data, 0o755)
    return archive.finish()
