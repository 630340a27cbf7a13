"""Text that somebody else wrote, made safe to show: package files, guests, servers and contributors may write anything.

A terminal obeys control characters: it moves the cursor, changes its title, answers as if somebody typed. Browsers and
terminals obey the characters that turn the direction of text: ``gpj.exe`` after one of them is shown as ``exe.jpg``. A
line break in a message makes a second message.
"""

from __future__ import annotations

import re
import unicodedata

MARK = "\ufffd"
"""Stands for a character that nobody sees."""
NOT_XML = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
"""For a class of a pattern: the characters that no XML document may hold (XML 1.0, 2.2)."""
CONTROLS = "\x00-\x1f\x7f-\x9f"
"""The same of control characters: ASCII's (C0), DEL, and those of ISO 6429 (C1)."""

# ECMA-48, 5.3 to 5.6: control sequences; strings (titles, links, device control), which end at the line's end at the
# latest, so that none hides the lines after it; other sequences. Carriage returns and bells stand for nothing to read.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-Z\\`-~]"
    r"|[\r\x07]"
)
_UNUSUAL = re.compile(r"[^\x20-\x7e\n\t]")
_BREAKS = str.maketrans("\n\t", "  ")


def plain_text(text: str) -> str:
    """Return a text of lines without what a terminal or a browser obeys: only line feeds and tabs stay.

    Control sequences go. Every other character that Unicode does not call printable becomes :data:`MARK`;
    a blank of any width stays.
    """
    return _UNUSUAL.sub(_shown, _SEQUENCES.sub("", text))


def plain_line(text: str) -> str:
    """Return the same as one line: line feeds and tabs become spaces."""
    return plain_text(text).translate(_BREAKS)


def _shown(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() or unicodedata.category(character) == "Zs" else MARK
