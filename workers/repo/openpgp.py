"""Detached OpenPGP signatures as bytes: which packets one holds, and two of them in one (RFC 9580, sections 4.2 and 6).

Nothing here verifies or makes a signature; that is GnuPG's (``workers.repo.sign``).
"""

from __future__ import annotations

import base64
import re

_HEAD, _TAIL = "-----BEGIN PGP SIGNATURE-----", "-----END PGP SIGNATURE-----"
_ARMOUR = re.compile(
    rf"{_HEAD}\r?\n(?:[^\r\n]+: [^\r\n]*\r?\n)*\r?\n(.*?)\r?\n(?:=[A-Za-z0-9+/]{{4}}\r?\n)?{_TAIL}", re.DOTALL
)


def packets(armoured: bytes) -> tuple[bytes, ...]:
    """The packets of armoured signatures, in order; blocks one after another are taken as one.

    :raises ValueError: when it is no armoured OpenPGP.
    """
    found: list[bytes] = []
    blocks = _ARMOUR.findall(armoured.decode("ascii", errors="replace"))
    if not blocks:
        raise ValueError("no armoured signature")
    for block in blocks:
        data = base64.b64decode("".join(block.split()), validate=True)
        while data:
            size = _size(data)
            found.append(data[:size])
            data = data[size:]
    return tuple(found)


def _size(data: bytes) -> int:
    """Bytes of the first packet, header included."""
    size, head = 0, data[:6].ljust(6, b"\0")
    if head[0] & 0xC0 == 0xC0:  # the present format
        if (first := head[1]) < 192:
            size = 2 + first
        elif first < 224:
            size = 3 + ((first - 192) << 8) + head[2] + 192
        elif first == 255:
            size = 6 + int.from_bytes(head[2:6], "big")
    elif data[0] & 0xC0 == 0x80 and (kind := data[0] & 3) < 3:  # the legacy format, which GnuPG writes
        octets = 1 << kind
        size = 1 + octets + int.from_bytes(data[1 : 1 + octets], "big")
    if not 2 < size <= len(data):
        raise ValueError("not a whole packet of known length")
    return size


def armoured(signatures: tuple[bytes, ...]) -> bytes:
    """Packets as one armoured detached signature."""
    data = b"".join(signatures)
    text = base64.b64encode(data).decode()
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    check = base64.b64encode(_crc24(data).to_bytes(3, "big")).decode()  # optional since RFC 9580, but older readers ask
    return "\n".join((_HEAD, "", *lines, f"={check}", _TAIL, "")).encode()


def _crc24(data: bytes) -> int:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ 0x1864CFB if crc & 0x800000 else crc << 1
    return crc & 0xFFFFFF


def bridged(new: bytes, shown: bytes | None, *, clean: bool) -> bytes:
    """The signature file that verifies both the index shown now and the one that follows.

    ``new`` carries the signatures of the new index and of the one before it, newest first. Where the index shown is an
    older one, because publications in between never arrived, its signatures in ``shown`` are carried on.

    :param clean: whether ``shown`` and the index it lies beside arrived together: then its first signature is the index's.
    """
    if shown is None:
        return new
    try:
        ours, theirs = packets(new), packets(shown)
    except ValueError:  # something else's signature file cannot be carried on
        return new
    if clean and theirs[0] in ours:
        return new
    missing = tuple(packet for packet in theirs if packet not in ours)
    return armoured((*ours, *missing)) if missing else new
