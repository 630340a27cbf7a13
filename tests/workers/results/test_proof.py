"""The proof as text and as HTML: what it shows first, and that no text of a package becomes markup."""

from __future__ import annotations

import html.parser

import pytest

from workers.results import Check, FileProof, Place, VerifyResult
from workers.results.proof import NAMED, cause, findings, summary, text
from workers.results.proof_html import SHOWN, page

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def proof(**changes: object) -> FileProof:
    fields = {
        "file": "p:/usr/bin/p",
        "level": "x86-64-v2",
        "functions": 240,
        "framed": 212,
        "leaf": 28,
        "code_bytes": 9000,
    }
    return FileProof.model_validate({**fields, **changes})


def check(rule: str = "isa-level", outcome: str = "failed", **more: object) -> Check:
    return Check.model_validate({"rule": rule, "file": "p:/usr/bin/p", "outcome": outcome, **more})


PASSED = check(outcome="passed")


@pytest.mark.parametrize(
    ("files", "checks", "line"),
    [
        ([proof()], [PASSED], "212 functions framed of 212, x86-64-v2 proven, 0 findings"),
        ([proof(framed=1)], [PASSED], "1 function framed of 1, x86-64-v2 proven, 0 findings"),
        (
            [proof(unframed=2)],
            [PASSED, check("frame-pointers")],
            "212 functions framed of 214, x86-64-v2 proven, 1 finding",
        ),
        ([proof(above=1)], [check()], "212 functions framed of 212, 1 function above x86-64-v2, 1 finding"),
        ([proof(), proof(above=0)], [check()], "424 functions framed of 424, x86-64-v2 not proven, 1 finding"),
        ([proof(framed=0, level="x86-64-v1")], [PASSED], "x86-64-v1 proven, 0 findings"),
        ([proof(code_bytes=0, framed=0)], [check("proof")], "no code, 1 finding"),
        ([], [check("proof", "skipped", reason="noarch"), PASSED], "no code, 0 findings, 1 skipped"),
    ],
)
def test_the_summary_counts_functions_and_findings(files, checks, line):
    assert summary("x86-64-v2", files, checks) == line


def test_the_text_begins_with_bad_findings_and_names_their_first_functions():
    places = tuple(Place(function=f"f{n}", address=n, detail="why") for n in range(NAMED + 3))
    checks = [
        Check(rule="producer", file="a", outcome="passed", detail="23 compile units"),
        Check(rule="relro", file="b", outcome="failed", level="VERIFY", detail="partial"),
        Check(rule="isa-level", file="c", outcome="failed", detail="8 functions", places=places),
        Check(rule="producer", file="c", outcome="skipped", reason="language-rust"),
    ]
    lines = text(checks).splitlines()
    assert lines[:3] == ["c", "  BAD    isa-level: 8 functions", "           f0: why"]
    assert lines[7:] == [
        "           and 3 more", "  INFO   producer (skipped: language-rust)",
        "b", "  VERIFY relro: partial", "a", "  OK     producer: 23 compile units",
    ]  # fmt: skip
    assert cause(findings(checks)[0]) == "b: relro: partial"


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[str]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, [name for name, _ in attrs]))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def result(*checks: Check, files: tuple[FileProof, ...] = ()) -> VerifyResult:
    broken = findings(checks)
    return VerifyResult(
        outcome="failed" if broken else "passed", summary=f"s {EVIL}", target=f"t {EVIL}", checks=checks, files=files
    )


def test_no_text_of_a_package_becomes_markup():
    place = Place(function=EVIL, address=16, detail=EVIL, excerpt=(f"=> {EVIL}", EVIL), compiled_by=EVIL)
    checks = [
        Check(rule=EVIL, file=EVIL, outcome=outcome, detail=EVIL, reason=EVIL, places=(place,))
        for outcome in ("failed", "passed", "skipped")
    ]
    shown = page(result(*checks, files=(proof(file=EVIL, level=EVIL),)))
    tags = Tags()
    tags.feed(shown)
    assert tags.open == []
    allowed = "div style h1 h2 span details summary b code br pre mark table tr th td i small p"
    assert {tag for tag, _ in tags.seen} <= set(allowed.split())
    assert {name for _, names in tags.seen for name in names} <= {"class", "style", "open"}
    assert "alert(1)" in shown


def test_control_sequences_are_removed_and_invisible_characters_marked():
    hostile, shown = "a\x1b[31m\u202eb\x00", "a\ufffdb\ufffd"
    place = Place(function=hostile, address=16, detail=hostile, excerpt=(f"=> {hostile}",), compiled_by=hostile)
    text = page(result(check(rule=hostile, detail=hostile, places=(place,)), files=(proof(file=hostile),)))
    assert text.count(shown) == 7
    assert not set("\x1b\u202e\x00") & set(text)


def test_the_page_shows_the_function_the_instruction_and_how_it_was_compiled():
    place = Place(
        function="leak", address=0x1139, detail="1 instruction above x86-64-v2: AVX2",
        excerpt=("  1135  55  push rbp", "=> 1139  c5 fd fe c1  vpaddd ymm0,ymm0,ymm1"),
        compiled_by="leak.c: GNU C17 -mavx2",
    )  # fmt: skip
    shown = page(result(check(places=(place,)), files=(proof(above=1),)))
    assert "<mark>=&gt; 1139  c5 fd fe c1  vpaddd ymm0,ymm0,ymm1</mark>" in shown
    assert "leak.c: GNU C17 -mavx2" in shown
    assert "not proven" in shown
    assert "100 %" in shown


def test_a_page_of_very_many_findings_stays_small():
    places = tuple(Place(function=f"function_{n}", address=n, detail="why") for n in range(1000))
    shown = page(result(check(places=places)))
    assert f"function_{SHOWN - 1}<" in shown
    assert f"function_{SHOWN}<" not in shown
    assert f"and {1000 - SHOWN} more" in shown


def test_a_page_of_a_passed_proof_does_not_say_not_proven():
    shown = page(result(PASSED, files=(proof(),)))
    assert "not proven" not in shown
    assert "1 checks that passed or were skipped" in shown
