"""The NoCloud seed of a guest: a small disk that tells a cloud image who it is, and has it run the tests.

cloud-init finds it by its label (its documentation, "NoCloud"). It carries ``guest.for_image``: what an image lacks to speak as
every guest of the lab does, so that suites need not know which kind they have.
"""

from __future__ import annotations

import io
import json

import pycdlib

LABEL = "CIDATA"
_START = """\
set -e
mkdir -p /run/kitten-seed
mount -o ro /dev/disk/by-label/CIDATA /run/kitten-seed
cd /
/run/kitten-seed/busybox cpio -i -d -m -u </run/kitten-seed/kitten.cpio
umount /run/kitten-seed
# A unit of its own: what the tests start does not end with cloud-init.
systemd-run --unit=kitten --collect /kitten/bin/busybox sh /kitten/init.sh
"""


def image(name: str, archive: bytes, busybox: bytes) -> bytes:
    """The disk, an ISO 9660 file system with Joliet and Rock Ridge names.

    :param name: of the guest; also its identity, so that cloud-init takes it for a new one.
    :param archive: ``guest.for_image``.
    :param busybox: a static one, to unpack that.
    """
    files = {
        "meta-data": json.dumps({"instance-id": name, "local-hostname": name}).encode(),
        "user-data": b"#cloud-config\n" + json.dumps(user_data()).encode(),
        # No network: cloud-init need not wait for one.
        "network-config": json.dumps({"version": 2, "ethernets": {}}).encode(),
        "kitten.cpio": archive,
        "busybox": busybox,
    }
    disk = pycdlib.PyCdlib()
    disk.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for number, (path, data) in enumerate(files.items()):
        disk.add_fp(
            io.BytesIO(data),
            len(data),
            f"/FILE{number}.;1",
            rr_name=path,
            joliet_path=f"/{path}",
            file_mode=0o100755 if path == "busybox" else 0o100644,
        )
    written = io.BytesIO()
    disk.write_fp(written)
    disk.close()
    return written.getvalue()


def user_data() -> dict[str, object]:
    """cloud-config: nothing is installed, grown or kept; at the end the guest's script starts."""
    return {
        "users": [],
        "growpart": {"mode": "off"},
        "resize_rootfs": False,
        "package_update": False,
        "package_upgrade": False,
        "manage_etc_hosts": False,
        "ssh_genkeytypes": ["ed25519"],
        "runcmd": [["sh", "-c", _START]],
    }
