"""ELF files, made byte by byte, with content that no compiler here writes."""

from __future__ import annotations

import struct

from workers.formats.elf import Elf


def elf_file(*sections: tuple[str, int, int, bytes], order: str = "<") -> Elf:
    """Return a file with these sections (name, flags, address, content), each in its own segment."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in sections) + b".shstrtab\0"
    body, headers, segments = b"", [bytes(64)], []
    start = 64 + 56 * len(sections)
    for name, flags, address, content in sections:
        offset = start + len(body)
        headers.append(
            struct.pack(
                order + "IIQQQQIIQQ",
                names.index(name.encode() + b"\0"),
                1,
                flags,
                address,
                offset,
                len(content),
                0,
                0,
                8,
                0,
            )
        )
        segments.append(struct.pack(order + "IIQQQQQQ", 1, 6, offset, address, address, len(content), len(content), 8))
        body += content
    headers.append(
        struct.pack(order + "IIQQQQIIQQ", names.index(b".shstrtab"), 3, 0, 0, start + len(body), len(names), 0, 0, 1, 0)
    )
    body += names
    head = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1]) + bytes(9)
    head += struct.pack(
        order + "HHIQQQIHHHHHH",
        2,
        62,
        1,
        0,
        64,
        start + len(body),
        0,
        64,
        56,
        len(sections),
        64,
        len(headers),
        len(headers) - 1,
    )
    return Elf(head + b"".join(segments) + body + b"".join(headers))
