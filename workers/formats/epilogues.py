"""What undoes a frame, as call frame instructions: nothing can be learnt from them, so they are passed over in one match."""

from __future__ import annotations

import re

# advance_loc, restore, nop, remember_state, restore_state, def_cfa_offset. Of two alternatives at most one begins with a
# byte, and nothing that may fail follows the repeat: it never goes back, and its time is the length of what it passes. A
# repeat keeps a record of each round, so it is bounded. It is not possessive: Python up to 3.11.4 loses matches of those
# (https://github.com/python/cpython/issues/106052).
_INSTRUCTIONS = re.compile(
    rb"(?s:[\x40-\x7f\xc0-\xff\x00\x0a\x0b]|\x0e[\x80-\xff]{0,8}[\x00-\x7f]|\x02.|\x03..|\x04....){0,1000}"
)


def only_undoes(program: bytes, position: int = 0) -> bool:
    """Whether a program is nothing but such instructions from ``position`` on."""
    while position < len(program):
        found = _INSTRUCTIONS.match(program, position)
        if found is None or found.end() == position:
            return False
        position = found.end()
    return True
