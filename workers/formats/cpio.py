"""A writer of initramfs archives: the "newc" cpio format that the kernel unpacks (its buffer-format.rst).

The kernel accepts several archives one after the other: a target's base is written once, and each test adds an archive.
Archives are not compressed: under software emulation, decompression in the guest takes longer than QEMU's copy.
"""

from __future__ import annotations

from pathlib import PurePosixPath

MERGED = ("bin", "sbin", "lib", "lib64")
"""Top folders that are links into usr/, as on Enterprise Linux. Archives write below usr/ and keep the links."""

_DIRECTORY, _FILE, _LINK, _CHARACTER = 0o040000, 0o100000, 0o120000, 0o020000


class Archive:
    """One cpio archive in memory. It adds missing parent folders."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0
        self._folders: set[PurePosixPath] = set()

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Add a folder and its parents."""
        self._folder(_inside(path), mode)

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file. It replaces a file of this path in an earlier archive."""
        inside = _inside(path)
        self._folder(inside.parent)
        self._entry(str(inside), _FILE | mode & 0o7777, data)

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        inside = _inside(path)
        self._folder(inside.parent)
        self._entry(str(inside), _LINK | 0o777, target.encode())

    def merged_link(self, name: str) -> None:
        """Add one of the ``MERGED`` links."""
        self._entry(name, _LINK | 0o777, f"usr/{name}".encode())

    def character_device(self, path: str, major: int, minor: int) -> None:
        """Add a character device, mode 0600."""
        inside = _inside(path)
        self._folder(inside.parent)
        self._entry(str(inside), _CHARACTER | 0o600, device=(major, minor))

    def finish(self) -> bytes:
        """Return the archive with its trailer, padded so that another may follow."""
        self._entry("TRAILER!!!", 0)
        return bytes(self._data)

    def _folder(self, path: PurePosixPath, mode: int = 0o755) -> None:
        if path == PurePosixPath() or path in self._folders:
            return
        self._folder(path.parent)
        self._folders.add(path)
        self._entry(str(path), _DIRECTORY | mode & 0o7777)

    def _entry(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        self._inode += 1
        encoded = name.encode("utf-8", "surrogateescape") + b"\0"
        links = 2 if mode & _DIRECTORY and not mode & _FILE else 1
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._pad()
        self._data += data
        self._pad()

    def _pad(self) -> None:
        self._data += b"\0" * (-len(self._data) % 4)


def _inside(path: str) -> PurePosixPath:
    """Return the path inside the archive, without its leading slash: /lib64/x is usr/lib64/x.

    :raises ValueError: the path leaves the archive.
    """
    relative = PurePosixPath(*(part for part in PurePosixPath(path).parts if part != "/"))
    if ".." in relative.parts:
        raise ValueError(f"path leaves the archive: {path}")
    if relative.parts and relative.parts[0] in MERGED:
        return PurePosixPath("usr") / relative
    return relative
