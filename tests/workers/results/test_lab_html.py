"""The HTML report of ``kitten test``: what it shows first, and that no text of a worker becomes markup."""

from __future__ import annotations

import html.parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.results import Artifact, Case, SuiteResult, TestResult
from workers.results.lab_html import CASES, CHARACTERS, CHARACTERS_IN_ALL, PICTURES, page

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&</pre></style>"
WHERE = "http://ci/plugins/kitten/artifacts/"


class Parsed(html.parser.HTMLParser):
    """A parsed page: tags with their attributes, the text, and the tags that were not closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def artifact(name: str) -> Artifact:
    return Artifact(name=name, url=f"/state/{name}", sha256="", size=1)


def result(*cases: Case, logs: tuple[str, ...] = (), outcome: str = "passed", **more: object) -> TestResult:
    suite = SuiteResult.model_validate(
        {
            "suite": "spice", "outcome": outcome, "summary": "spice", "cases": cases, "cpu": "Nehalem",
            "seconds": 12.34, "accelerator": "tcg", "kernel": "6.12", "logs": tuple(map(artifact, logs)),
        }
    )  # fmt: skip
    return TestResult.model_validate(
        {"summary": "s", "target": "x86_64", "outcome": outcome, "suites": (suite,), **more}
    )


PASS = Case(name="ticket", outcome="passed", seconds=1.5)
FAIL = Case(name="picture", outcome="failed", reason="it is black", detail="pixel 7", console="Oops", seconds=0.25)
FLAKY = Case(name="agent", outcome="flaky", reason="no answer", console="slow")
SKIP = Case(name="qxl", outcome="skipped", reason="this machine has no QXL", code="no-device")


def test_the_page_shows_machine_duration_counts_and_reasons():
    text = Parsed(page(result(PASS, FAIL, FLAKY, SKIP, outcome="failed", cause="picture: it is black"), {})).text
    assert "Nehalem (tcg), kernel 6.12, 12.3 s, 1 failed, 1 FLAKY, 1 skipped, 1 passed" in text
    assert "picture: it is black" in text
    assert "no-device this machine has no QXL" in text
    assert "1.50" in text


def test_failed_cases_come_first_with_open_output_and_console():
    shown = page(result(PASS, SKIP, FLAKY, FAIL, outcome="failed"), {})
    assert shown.index(">picture<") < shown.index(">agent<") < shown.index(">qxl<") < shown.index(">ticket<")
    opened = [attributes for attributes in Parsed(shown).all("details") if "open" in attributes]
    assert len(opened) == 2
    assert shown.index("pixel 7") < shown.index("Oops") < shown.index("slow")


@pytest.mark.parametrize(
    ("cases", "outcome", "word"),
    [((PASS,), "passed", "passed"), ((PASS, FLAKY), "passed", "FLAKY"), ((PASS, FAIL), "failed", "failed")],
)
def test_a_flaky_case_is_in_the_heading_and_not_green(cases, outcome, word):
    heading = page(result(*cases, outcome=outcome), {}).split("</h1>")[0]
    assert f">{word}</span>" in heading


def test_a_picture_is_beside_its_case_or_without_a_case_at_the_end():
    cases = (PASS.model_copy(update={"pictures": ("spice-a.png",)}), SKIP)
    where = {name: WHERE + name for name in ("spice-a.png", "spice-b.png")}
    shown = page(result(*cases, logs=("spice-a.png", "spice-b.png", "spice-console.log")), where)
    assert [image["src"] for image in Parsed(shown).all("img")] == list(where.values())
    assert shown.index("spice-a.png") < shown.index("Further pictures") < shown.index("spice-b.png")
    assert "spice-console.log" not in shown


def test_of_a_picture_without_an_address_only_the_name_is_shown():
    shown = page(result(PASS.model_copy(update={"pictures": ("spice-a.png",)})), {})
    assert Parsed(shown).all("img") == []
    assert "spice-a.png" in shown


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html;base64,x", "data:image/svg+xml,x", "//evil", "/x"]
)
def test_only_the_address_of_a_picture_is_used(address):
    shown = page(
        result(PASS.model_copy(update={"pictures": ("a.png",)}), logs=("a.png", "b.png")),
        {"a.png": address, "b.png": address},
    )
    assert Parsed(shown).all("img") + Parsed(shown).all("a") == []
    assert address not in shown


def test_no_text_of_a_result_becomes_markup():
    case = Case(
        name=EVIL, outcome="failed", reason=EVIL, code=EVIL, detail=EVIL, console=EVIL, pictures=(EVIL, "a.png")
    )
    suite = SuiteResult(
        suite=EVIL, outcome="failed", summary=EVIL, cause=EVIL, cases=(case,), accelerator=EVIL, cpu=EVIL, kernel=EVIL,
        logs=(artifact(EVIL), artifact("b.png")),
    )  # fmt: skip
    evil = TestResult(summary=EVIL, target=EVIL, outcome="failed", cause=EVIL, suites=(suite,))
    shown = Parsed(page(evil, {"a.png": f"{WHERE}{EVIL}", EVIL: f"{WHERE}x", "b.png": f"{WHERE}b"}))
    assert shown.open == []
    assert not {"script", "iframe", "object", "svg", "link", "meta"} & {tag for tag, _ in shown.tags}
    assert all(not name.startswith("on") for _, attributes in shown.tags for name in attributes)
    assert [image["src"] for image in shown.all("img")] == [f"{WHERE}x", f"{WHERE}{EVIL}", f"{WHERE}b"]
    assert shown.text.count("<script>alert(1)</script>") >= 10


@pytest.mark.parametrize(
    ("console", "shown"),
    [
        ("\x1b[31mred\x1b[0m\r\n", "red\n"),
        ("\x1b]0;title\x07words", "words"),
        ("\x1b]8;;http://evil\x1b\\link", "link"),
        ("a\x00b\x08c", "a\ufffdb\ufffdc"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_control_sequences_are_removed_and_invisible_characters_marked(console, shown):
    assert f"<pre>{shown}</pre>" in page(result(FAIL.model_copy(update={"console": console})), {})


@given(st.text(max_size=200))
def test_arbitrary_text_stays_text(text):
    shown = Parsed(page(result(Case(name=text, outcome="failed", console=text, detail=text, code=text)), {}))
    assert shown.open == []
    assert {tag for tag, _ in shown.tags} <= {
        *("div", "style", "h1", "h2", "span", "p", "table", "tr", "th", "td", "code", "details", "summary", "pre")
    }


def test_the_size_of_a_page_is_bounded():
    loud = [
        Case(name=f"c{n}", outcome="failed", console="x" * 2 * CHARACTERS, pictures=("a.png",))
        for n in range(CASES + 7)
    ]
    shown = page(result(*loud), {"a.png": f"{WHERE}a.png"})
    assert "and 7 more" in shown
    assert len(Parsed(shown).all("img")) == PICTURES
    assert CHARACTERS_IN_ALL < shown.count("x") < CHARACTERS_IN_ALL + 200 * CASES
    assert "characters before are in the logs" in shown
