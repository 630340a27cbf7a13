from __future__ import annotations

import pytest

from workers.base.errors import CheckFailed
from workers.sources.lookaside import Tarball, parse

SUM = "0123456789abcdef" * 8


def test_lines_as_sha512sum_writes_them() -> None:
    text = f"# comment\n\nSHA512 (a-1.0.tar.gz) = {SUM}\nSHA512 (b_2+dfsg~rc1.orig.tar.xz) = {SUM}\n"
    assert parse(text) == (Tarball("a-1.0.tar.gz", SUM), Tarball("b_2+dfsg~rc1.orig.tar.xz", SUM))


def test_tabs_spaces_and_carriage_returns_are_allowed() -> None:
    assert parse(f"\tSHA512  (a.tar)\t=  {SUM} \r\n") == (Tarball("a.tar", SUM),)


@pytest.mark.parametrize(
    "name",
    ["../a.tar", "/etc/passwd", "a/b.tar", "..", ".", ".hidden", "-rf", "a b.tar", "a\tb.tar", "", "a\x00b", "ä.tar"],
)
def test_names_other_than_a_plain_file_name_are_refused(name: str) -> None:
    with pytest.raises(CheckFailed, match=r"sources:1: .*not a plain file name"):
        parse(f"SHA512 ({name}) = {SUM}\n")


def test_the_old_md5_form_is_refused_with_a_reason() -> None:
    with pytest.raises(CheckFailed, match=r"sources:2: an MD5 checksum is not secure.*sha512sum --tag"):
        parse(f"# old\n{'0' * 32}  bzip2-1.0.8.tar.gz\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"MD5 (a.tar) = {'0' * 32}", "MD5 is not allowed"),
        (f"SHA256 (a.tar) = {'0' * 64}", "SHA256 is not allowed"),
        ("SHA512 (a.tar) = 1234", "128 hexadecimal digits"),
        (f"SHA512 (a.tar) = {SUM.upper()}", "lower case"),
        (f"SHA512 (a.tar) {SUM}", "not a checksum line"),
        (f"SHA512 (a.tar) = {SUM} extra", "not a checksum line"),
    ],
)
def test_every_other_line_is_reported_with_its_number_and_error(line: str, message: str) -> None:
    with pytest.raises(CheckFailed, match=rf"^sources:1: .*{message}"):
        parse(line)


def test_a_file_named_twice_is_refused() -> None:
    with pytest.raises(CheckFailed, match=r"sources:2: a\.tar is named twice"):
        parse(f"SHA512 (a.tar) = {SUM}\nSHA512 (a.tar) = {SUM}\n")
