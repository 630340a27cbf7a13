"""Known answers: checks that this Python interpreter computes what the readers rely on.

A verdict can be wrong if the interpreter is wrong. Python 3.11.2, for example, lost matches of some regular
expressions. A reader that gets no match reports a damaged file or, worse, nothing. Each input has some bytes; all of
them together take less than a millisecond.
"""

from __future__ import annotations

import platform
import struct
import sys
from collections.abc import Callable

from workers.base.errors import CannotRun
from workers.formats import unwinding
from workers.formats.dwarf.abbreviations import Abbreviation, Abbreviations
from workers.formats.dwarf.sections import DebugSection
from workers.formats.unwinding import only_undoes

# DW_TAG_compile_unit: producer, language, an implicit constant of two bytes, a GNU attribute. The table has a longer
# abbreviation before it.
_UNIT = bytes.fromhex("01 11 01 25 0e 13 0b 0b 21 81 01 b4 42 19 00 00")
_TABLE = bytes.fromhex("82 01 2e 00 03 0e 3a 21 05 87 40 18 00 00") + _UNIT + b"\0"
_ATTRIBUTES = ((0x25, 0x0E, 0), (0x13, 0x0B, 0), (0x0B, 0x21, 129), (0x2134, 0x19, 0))

# push %rbp; mov %rsp,%rbp; …; remember_state, leave, ret, restore_state.
_PROGRAM = bytes.fromhex("41 0e 10 86 02 43 0d 06 02 59 0a 0c 07 08 41 0b")
_FRAMED = unwinding.Unwinding(moves=True, lowers=True, bases=1 << 6 | 1 << 7, saved=1 << 6 | 1 << 16)
_RESTORES = bytes.fromhex("0a c6 0e 08 41 0b 00 02 59 03 00 01 04 00 01 00 00 0e 90 81 01")


def _section(data: bytes) -> DebugSection:
    return DebugSection("known", memoryview(data), little_endian=True)


_ANSWERS: dict[str, tuple[Callable[[], object], object]] = {
    "a table of abbreviations": (
        lambda: [Abbreviations(_section(data)).find(0, 1) for data in (_UNIT, _TABLE)],
        [Abbreviation(0x11, _ATTRIBUTES)] * 2,
    ),
    "a text": (lambda: _section(b"GNU C17 -O2\0x").text(4), (b"C17 -O2", 12)),
    "a relocated number": (lambda: _section(struct.pack("<QI", 1 << 40, 7)).number(0, 8), 1 << 40),
    "an unwind program": (
        lambda: [
            run(_PROGRAM, unwinding.common(b"\x0c\x07\x08\x90\x01", "EM_X86_64"))
            for run in (unwinding.run, unwinding.run_exactly)
        ],
        [_FRAMED] * 2,
    ),
    "the end of an unwind program": (
        lambda: [only_undoes(_RESTORES), only_undoes(_RESTORES + b"\x0e"), only_undoes(_RESTORES + b"\x86\x02")],
        [True, False, False],
    ),
}


def check() -> None:
    """Read the known inputs.

    :raises CannotRun: if an answer is wrong, because then no verdict of this interpreter counts.
    """
    for what, (read, expected) in _ANSWERS.items():
        try:
            right = read() == expected
        except Exception:  # a broken interpreter may raise anything
            right = False
        if not right:
            raise CannotRun(
                f"Python {platform.python_version()} ({sys.executable}) reads {what} wrongly; no proof of it counts",
                "use another interpreter: make setup PYTHON=/path/to/another/python3",
            )
