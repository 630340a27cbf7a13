"""A cloud image for tests of guests: Debian with systemd and cloud-init, as qcow2. The machine's BIOS boots it.

Kitten's own images come from its mirrors. This one is made from Debian's packages, once, in some minutes.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

from workers.base import cache
from workers.base.run import run
from workers.lab.guest.kernel import SUITE
from workers.sandbox import apt, tree

_PACKAGES = "systemd-sysv,udev,kmod,cloud-init,linux-image-cloud-amd64,initramfs-tools,grub-pc-bin"
_LEFT_OUT = ("doc", "locale", "man", "info")
_FIRST_SECTOR = 2048  # of the file system; the boot loader is before it
_MEBIBYTES = 900

# The initrd has only the modules for the disk. GRUB starts with the commands of early.cfg.
_ESSENTIAL_HOOK = """
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules"
printf '%s\\n' virtio_pci virtio_blk ext4 >"$1/etc/initramfs-tools/modules"
"""
_LAST_HOOK = """
cp "$1"/boot/vmlinuz-* "$1/boot/kernel"
cp "$1"/boot/initrd.img-* "$1/boot/initrd"
cat >"$1/boot/early.cfg" <<EOF
set root=(hd0,msdos1)
linux /boot/kernel root=/dev/vda1 rw console=ttyS0
initrd /boot/initrd
boot
EOF
chroot "$1" grub-mkimage -O i386-pc -o /boot/core.img -p /boot -c /boot/early.cfg biosdisk part_msdos ext2 linux
cp "$1/usr/lib/grub/i386-pc/boot.img" "$1/boot/boot.img"
rm -f "$1/etc/machine-id" "$1/etc/hostname"
touch "$1/etc/machine-id"
"""
_FILE_SYSTEM = f"""
mkdir -p tree/dev tree/proc tree/sys tree/run
tar -C tree -x -f tree.tar --exclude='./dev/*'
mke2fs -q -F -t ext4 -d tree -E offset={_FIRST_SECTOR * 512} disk.raw {_MEBIBYTES}M
cp tree/boot/boot.img tree/boot/core.img .
rm -r tree
"""


def image() -> Path:
    """Return the image in the cache; make it on first use."""
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    folder = cache.entry("test-images", recipe[:16], _make)
    return folder / "Debian-genericcloud.x86_64.qcow2"


def _make(folder: Path) -> None:
    mode = "root" if os.geteuid() == 0 else "unshare"
    options = ["--variant=apt", f"--include={_PACKAGES}", "--skip=output/dev", f"--mode={mode}", "--format=tar"]
    options += ['--aptopt=APT::Install-Recommends "false"', "--dpkgopt=force-unsafe-io"]
    options += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT]
    options += [f"--aptopt={line}" for line in tree._transport()]
    options += [f"--essential-hook={_ESSENTIAL_HOOK}", f"--customize-hook={_LAST_HOOK}"]
    source = f"deb [signed-by={apt.keyring()}] {apt.mirror()} {SUITE} main"
    run(["mmdebstrap", "--quiet", *options, SUITE, folder / "tree.tar", source])
    # Files keep their owners only if this user may call chown: as root, or in a user namespace.
    namespace = [] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--map-auto"]
    run([*namespace, "sh", "-ec", _FILE_SYSTEM], cwd=folder)
    _make_bootable(folder / "disk.raw", (folder / "boot.img").read_bytes(), (folder / "core.img").read_bytes())
    run(["qemu-img", "convert", "-O", "qcow2", "disk.raw", "Debian-genericcloud.x86_64.qcow2"], cwd=folder)
    for name in ("tree.tar", "disk.raw", "boot.img", "core.img"):
        (folder / name).unlink()
    (folder / "Debian-genericcloud.x86_64.qcow2").chmod(0o444)


def _make_bootable(disk: Path, boot: bytes, core: bytes) -> None:
    """Write GRUB's first sector with a partition table in it, and the rest of GRUB after it (GRUB's manual, "MBR")."""
    assert len(core) <= (_FIRST_SECTOR - 1) * 512
    sectors = disk.stat().st_size // 512 - _FIRST_SECTOR
    anywhere = b"\xfe\xff\xff"  # cylinder, head and sector of a disk that is too large for these numbers
    entry = struct.pack("<B3sB3sII", 0x80, anywhere, 0x83, anywhere, _FIRST_SECTOR, sectors)
    with disk.open("r+b") as file:
        file.write(boot[:446] + entry + bytes(48) + b"\x55\xaa" + core)
