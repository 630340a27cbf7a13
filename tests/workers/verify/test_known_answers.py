"""A Python interpreter with wrong results is refused before any file is read."""

from __future__ import annotations

import platform
import re
import sys

import pytest
from click.testing import CliRunner

from workers.base.errors import CannotRun
from workers.formats import unwinding
from workers.formats.dwarf import abbreviations, sections
from workers.results import VerifyResult
from workers.verify import known_answers
from workers.verify.cli import verify

NO_MATCH = re.compile(rb"(?!)")
PLACES = [
    (abbreviations, "_DECLARATION", NO_MATCH, "a table of abbreviations"),
    (abbreviations, "_DECLARATION", re.compile(abbreviations._DECLARATION.pattern[:-30]), "a table of abbreviations"),
    (sections, "_TEXT", NO_MATCH, "a text"),
    (sections, "_TEXT", re.compile(rb"(?s:.*)\x00.?"), "a text"),
    (unwinding, "_UNDOING", NO_MATCH, "the end of an unwind program"),
    (unwinding, "_UNDOING", re.compile(rb"(?s:.+)"), "the end of an unwind program"),
]


def test_this_interpreter_gives_the_known_answers():
    known_answers.check()


@pytest.mark.parametrize(("module", "name", "broken", "what"), PLACES)
def test_interpreter_with_wrong_matches_is_refused(module, name, broken, what, monkeypatch):
    monkeypatch.setattr(module, name, broken)
    with pytest.raises(CannotRun, match=f"reads {what} wrongly") as caught:
        known_answers.check()
    assert platform.python_version() in caught.value.what
    assert sys.executable in caught.value.what
    assert "make setup PYTHON=" in caught.value.hint
    assert "\n" not in caught.value.what


def test_verify_gives_no_verdict_with_such_an_interpreter(tmp_path, monkeypatch):
    monkeypatch.setattr(abbreviations, "_DECLARATION", NO_MATCH)
    out = tmp_path / "result.json"
    arguments = ["--target", "x86_64", "--state", str(tmp_path / "state"), "--json", str(out), sys.executable]
    done = CliRunner().invoke(verify, arguments)
    assert isinstance(done.exception, CannotRun)
    result = VerifyResult.read(out.read_text())
    assert result.outcome == "cannot-run"
    assert "reads a table of abbreviations wrongly" in result.cause
    assert not result.checks
