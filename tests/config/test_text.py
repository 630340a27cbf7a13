"""Untrusted text: no character stays that controls a terminal or a browser."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.text import CONTROLS, MARK, NOT_XML, plain_line, plain_text

ATTACKS = [
    ("colour", "\x1b[31mred\x1b[0m", "red"),
    ("cursor and clear", "fine\x1b[2J\x1b[1;1Hspoofed", "finespoofed"),
    ("private mode", "\x1b[?1049hother screen", "other screen"),
    ("intermediate bytes", "\x1b[!p\x1b[0 qreset", "reset"),
    ("title", "\x1b]0;title\x07words", "words"),
    ("link", "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("clipboard", "\x1b]52;c;cm0gLXJm\x07x", "x"),
    ("device control string", '\x1bP$q"p\x1b\\x', "x"),
    ("application command", "\x1b_Gf=32;AAAA\x1b\\x", "x"),
    ("answer-back", "\x1b[cx\x1b[6n", "x"),
    ("reset", "\x1bcx", "x"),
    ("character set", "\x1b(0x", "x"),
    ("C1 control sequence", "\x9b31mred", "red"),
    ("C1 title", "\x9d0;title\x9cwords", "words"),
    ("string without an end", "seen\x1b]0;hidden\nnext line", "seen\nnext line"),
    ("sequence in a sequence", "\x1b\x1b[31m[31mx", f"{MARK}[31mx"),
    ("sequence without an end", "\x1b[31", f"{MARK}[31"),
    ("overwritten line", "FAILED\rpassed", "FAILEDpassed"),
    ("DOS line ends", "one\r\ntwo\r\n", "one\ntwo\n"),
    ("bell", "red\x07 line", "red line"),
    ("overstrike", "a\x00b\x08c\x7f", f"a{MARK}b{MARK}c{MARK}"),
    ("form feed and vertical tab", "a\x0cb\x0bc", f"a{MARK}b{MARK}c"),
    ("NEL and line separators", "a\x85b\u2028c\u2029d", f"a{MARK}b{MARK}c{MARK}d"),
    ("right-to-left override", "\u202egnp.exe", f"{MARK}gnp.exe"),
    ("isolates", "\u2066a\u2069", f"{MARK}a{MARK}"),
    ("zero width", "pass\u200bword\ufeff", f"pass{MARK}word{MARK}"),
    ("soft hyphen", "zl\u00adib", f"zl{MARK}ib"),
    ("tag characters", "a\U000e0041", f"a{MARK}"),
    ("lone surrogate", "a\ud800b\udcff", f"a{MARK}b{MARK}"),
    ("noncharacters and private use", "a\ufffeb\uffffc\ue000", f"a{MARK}b{MARK}c{MARK}"),
]
STAYS = ["plain", "tab\tstays", "two\nlines", "Zürich 東京 Δ", "a\u00a0b", "non-BMP 😀", "", " blanks  stay "]


@pytest.mark.parametrize(("attack", "text", "seen"), ATTACKS, ids=[attack for attack, _, _ in ATTACKS])
def test_a_known_attack_is_removed_or_marked(attack: str, text: str, seen: str) -> None:
    assert plain_text(text) == seen, attack
    assert plain_line(text) == seen.replace("\n", " ")


@pytest.mark.parametrize("text", STAYS)
def test_ordinary_text_stays(text: str) -> None:
    assert plain_text(text) == text


def test_a_line_has_no_line_break() -> None:
    assert plain_line("passed\nFAILED\tno") == "passed FAILED no"


any_text = st.text(alphabet=st.characters(exclude_categories=()), max_size=300) | st.lists(
    st.sampled_from(["\x1b", "[", "]", "\x9b", "\x9d", "\x07", "\\", "3", "m", ";", "\n", "\r", "\u202e", "x", "P"])
).map("".join)


@given(any_text)
def test_no_control_character_stays(text: str) -> None:
    result = plain_text(text)
    categories = {unicodedata.category(character) for character in result if character not in "\n\t"}
    assert not categories & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert plain_text(result) == result
    result.encode("utf-8")
    line = plain_line(text)
    assert line.splitlines() in ([], [line])
    assert "\t" not in line


@given(any_text)
def test_no_line_is_removed(text: str) -> None:
    assert plain_text(text).count("\n") == text.count("\n")


@given(any_text)
def test_plain_text_is_allowed_in_xml(text: str) -> None:
    import re

    assert not re.search(f"[{NOT_XML}]", plain_text(text))
    assert not re.search(f"[{CONTROLS}]", plain_line(text))


def test_long_text_takes_linear_time() -> None:
    for piece in ("\x1b[", "\x1b]", "\x1b[0;", "\x1b(", "\x9b ", "\x1b"):
        assert "\x1b" not in plain_text(piece * 200_000)  # quadratic: hours
