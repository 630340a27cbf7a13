"""Make untrusted text safe to show. Package files, guests, servers and contributors may write anything.

A terminal obeys control characters: it moves the cursor, changes its title, or sends text as if a user typed it.
Browsers and terminals obey characters that change the direction of text: after one of them, ``gpj.exe`` is shown as
``exe.jpg``. A line break in a message makes a second message.
"""

from __future__ import annotations

import re
import unicodedata

MARK = "\ufffd"
"""Replaces a character that is invisible."""
NOT_XML = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
"""Characters that are not allowed in XML (XML 1.0, section 2.2), for a character class of a regular expression."""
CONTROLS = "\x00-\x1f\x7f-\x9f"
"""Control characters, for a character class as well: ASCII (C0), DEL, and ISO 6429 (C1)."""

# ECMA-48, 5.3 to 5.6: control sequences; strings (titles, links, device control), which end at the end of the line at
# the latest, so that none hides the lines after it; other sequences; carriage returns and bells, which show nothing.
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-Z\\`-~]"
    r"|[\r\x07]"
)
_UNUSUAL = re.compile(r"[^\x20-\x7e\n\t]")
_BREAKS = str.maketrans("\n\t", "  ")


def plain_text(text: str) -> str:
    """Return a text without control characters, except line feeds and tabs.

    Control sequences are removed. Every other character that is not printable in Unicode becomes :data:`MARK`;
    spaces of any width stay.
    """
    return _UNUSUAL.sub(_visible, _SEQUENCES.sub("", text))


def plain_line(text: str) -> str:
    """Return :func:`plain_text` as one line: line feeds and tabs become spaces."""
    return plain_text(text).translate(_BREAKS)


def _visible(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() or unicodedata.category(character) == "Zs" else MARK
