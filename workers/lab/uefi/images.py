"""PE images in memory: read, replace and break their signatures; make a unified kernel image.

``workers.formats.pe`` reads images; this module makes changed copies of them.
Formats: Microsoft, "PE Format"; UEFI Specification 2.10, section 32.2.2 (signatures); UAPI Group, "Unified Kernel
Image".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.base.errors import MalformedError
from workers.formats.pe import Pe

_WIN_CERT_REVISION, _WIN_CERT_TYPE_PKCS_SIGNED_DATA = 0x0200, 0x0002
_CERTIFICATE_TABLE = 4  # of the data directories
_INITIALIZED_DATA_READ = 0x40000040


@dataclass(frozen=True)
class _Offsets:
    """The offsets of an image's headers, in bytes from its start."""

    coff: int
    optional: int
    signatures: int
    """The directory entry of the certificate table."""
    sections: int
    count: int


def _offsets(image: bytes) -> _Offsets:
    Pe(image)  # raises MalformedError unless this is a PE image with complete headers
    (start,) = _unpack("I", image, 0x3C)
    coff, optional = start + 4, start + 24
    count, size, magic = _unpack("2xH12xH2xH", image, coff)
    (directories,) = _unpack("I", image, optional + 108)
    if magic != 0x20B or directories <= _CERTIFICATE_TABLE:
        raise MalformedError("not a PE32+ image that can be signed")
    return _Offsets(coff, optional, optional + 112 + 8 * _CERTIFICATE_TABLE, optional + size, count)


def _unpack(form: str, image: bytes, offset: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from("<" + form, image, offset)
    except struct.error:
        raise MalformedError(f"truncated PE file: it ends before offset {offset}") from None


def signatures(image: bytes) -> tuple[bytes, ...]:
    """The signatures of an image, each a PKCS#7 message in DER.

    :raises MalformedError: if this is not a PE image, or its certificate table is damaged.
    """
    at, end = _table(image, _offsets(image))
    found = []
    while at < end:
        length, _, kind = _unpack("IHH", image, at)
        if length <= 8 or at + length > end:
            raise MalformedError("damaged PE file: a length in its certificate table is wrong")
        if kind == _WIN_CERT_TYPE_PKCS_SIGNED_DATA:
            found.append(_without_padding(image[at + 8 : at + length]))
        at += -(-length // 8) * 8
    return tuple(found)


def _table(image: bytes, offsets: _Offsets) -> tuple[int, int]:
    """The start and the end of the certificate table. Without a table, both are the end of the image."""
    at, size = _unpack("II", image, offsets.signatures)
    if not size:
        return len(image), len(image)
    if at < offsets.sections or at + size > len(image):
        raise MalformedError("damaged PE file: its certificate table is outside of the file")
    return at, at + size


def _without_padding(data: bytes) -> bytes:
    """A DER message without the padding that some signers include."""
    if data[:2] != b"\x30\x82":
        raise MalformedError("a signature that is not a PKCS#7 message")
    return data[: 4 + int.from_bytes(data[2:4], "big")]


def replace_signatures(image: bytes, wanted: Sequence[bytes]) -> bytes:
    """The image with other signatures. The signed content does not change, so its earlier signatures stay valid.

    :raises MalformedError: if this is not a PE image, or its certificate table is damaged.
    """
    offsets = _offsets(image)
    body = bytearray(image[: _table(image, offsets)[0]])
    body += bytes(-len(body) % 8)
    table = bytearray()
    for signature in wanted:
        length = 8 + len(signature)
        table += struct.pack("<IHH", length, _WIN_CERT_REVISION, _WIN_CERT_TYPE_PKCS_SIGNED_DATA) + signature
        table += bytes(-length % 8)
    struct.pack_into("<II", body, offsets.signatures, len(body) if table else 0, len(table))
    return bytes(body + table)


def tamper(image: bytes) -> bytes:
    """The image with one changed bit in its time stamp: the code is the same, but the signatures become invalid.

    :raises MalformedError: if this is not a PE image.
    """
    changed = bytearray(image)
    changed[_offsets(image).coff + 4] ^= 1
    return bytes(changed)


def unified_image(stub: bytes, sections: Mapping[str, bytes]) -> bytes:
    """A unified kernel image: systemd's stub with more sections, such as ``.linux``, ``.initrd`` and ``.cmdline``.

    :param stub: without signatures.
    :param sections: name → content.
    :raises MalformedError: if the stub is not a PE image, or has no room for so many section headers.
    """
    offsets = _offsets(stub)
    alignment, file_alignment = _unpack("II", stub, offsets.optional + 32)
    base = Pe(stub).image_base
    present = Pe(stub).sections
    end = max(section.address - base + max(section.size, section.file_size) for section in present)
    header = offsets.sections + 40 * offsets.count
    if header + 40 * len(sections) > min(section.offset for section in present if section.file_size):
        raise MalformedError(f"the stub has no room for {len(sections)} more sections")
    out = bytearray(stub)
    for name, data in sections.items():
        out += bytes(-len(out) % file_alignment)
        end += -end % alignment
        size = len(data) + -len(data) % file_alignment
        fields = struct.pack("<8sIIII12xI", name.encode(), len(data), end, size, len(out), _INITIALIZED_DATA_READ)
        out[header : header + 40] = fields
        out += data
        header += 40
        end += len(data)
    out += bytes(-len(out) % file_alignment)
    struct.pack_into("<H", out, offsets.coff + 2, offsets.count + len(sections))
    struct.pack_into("<I", out, offsets.optional + 56, end + -end % alignment)
    return bytes(out)
