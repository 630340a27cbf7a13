"""The NoCloud seed of a guest: a small disk that gives a cloud image its identity and starts the tests.

cloud-init finds it by its label (its documentation, "NoCloud"). The seed has the archive of ``file_system.for_image``:
the files that make a cloud image behave as any guest of the lab. So suites need not distinguish the two.
"""

from __future__ import annotations

import io
import json

import pycdlib

_LABEL = "CIDATA"
_START = """\
set -e
mkdir -p /run/kitten-seed
mount -o ro /dev/disk/by-label/CIDATA /run/kitten-seed
cd /
/run/kitten-seed/busybox cpio -i -d -m -u </run/kitten-seed/kitten.cpio
umount /run/kitten-seed
# In a separate unit, so that the tests' processes do not end with cloud-init.
systemd-run --unit=kitten --collect /kitten/bin/busybox sh /kitten/init.sh
"""


def image(name: str, archive: bytes, busybox: bytes) -> bytes:
    """Return the disk, an ISO 9660 file system with Joliet and Rock Ridge names.

    :param name: host name of the guest; also its instance ID, so that cloud-init handles it as a new machine.
    :param archive: from ``file_system.for_image``.
    :param busybox: a static busybox, which unpacks the archive.
    """
    files = {
        "meta-data": json.dumps({"instance-id": name, "local-hostname": name}).encode(),
        "user-data": b"#cloud-config\n" + json.dumps(_user_data()).encode(),
        # No network: so cloud-init does not wait for one.
        "network-config": json.dumps({"version": 2, "ethernets": {}}).encode(),
        "kitten.cpio": archive,
        "busybox": busybox,
    }
    disk = pycdlib.PyCdlib()
    disk.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=_LABEL)
    for number, (path, data) in enumerate(files.items()):
        disk.add_fp(
            io.BytesIO(data),
            len(data),
            f"/FILE{number}.;1",
            rr_name=path,
            joliet_path=f"/{path}",
            file_mode=0o100755 if path == "busybox" else 0o100644,
        )
    file = io.BytesIO()
    disk.write_fp(file)
    disk.close()
    return file.getvalue()


def _user_data() -> dict[str, object]:
    """Return the cloud-config: it installs and resizes nothing, and starts the guest's script at the end."""
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
