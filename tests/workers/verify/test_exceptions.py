"""Exemptions: what they cover, until when, and how expired and unused ones are reported."""

from __future__ import annotations

from datetime import date

import pytest

from config.exemptions import Exemptions
from config.loading import load_exemptions
from config.models import Exemption
from config.problems import ConfigError
from workers.verify.judge import exemption_checks

TODAY = date(2026, 11, 24)


def exceptions(*entries: tuple[str, str, str]) -> Exemptions:
    made = [
        Exemption(rule=rule, where=where, reason="a reason of some length", until=until)
        for rule, where, until in entries
    ]
    return Exemptions("p", made, TODAY)


@pytest.mark.parametrize(
    ("where", "path", "symbol", "covered"),
    [
        ("/usr/lib64/libx.so", "/usr/lib64/libx.so", "", True),
        ("/usr/lib64/libx.so", "/usr/lib64/libx.so", "fast", True),
        ("/usr/lib64/libx.so*", "/usr/lib64/libx.so.1.2", "fast", True),
        ("/usr/lib64/libx.so:fast_*", "/usr/lib64/libx.so", "fast_copy", True),
        ("/usr/lib64/libx.so:fast_*", "/usr/lib64/libx.so", "slow", False),
        ("/usr/lib64/libx.so:fast_*", "/usr/lib64/libx.so", "", False),
        ("/usr/lib64/liby.so", "/usr/lib64/libx.so", "fast", False),
        ("/usr/lib64/libx.so:ns::fast", "/usr/lib64/libx.so", "ns::fast", True),
    ],
)
def test_an_exception_covers_a_path_or_a_function_of_it(where, path, symbol, covered):
    found = exceptions(("isa-level", where, "2027-01-01")).cover("isa-level", path, symbol)
    assert (found is not None) == covered


def test_an_exception_of_another_rule_covers_nothing():
    assert exceptions(("isa-level", "*", "2027-01-01")).cover("frame-pointers", "/x") is None


def test_exemption_ends_after_its_last_day():
    assert exceptions(("isa-level", "*", "2026-11-24")).cover("isa-level", "/x") is not None
    expired = exceptions(("isa-level", "*", "2026-11-23"))
    assert expired.cover("isa-level", "/x") is None
    (check,) = exemption_checks(expired)
    assert (check.rule, check.outcome) == ("exception", "failed")
    assert "expired on 2026-11-23" in check.detail


def test_used_and_unused_exemptions_are_reported():
    made = exceptions(("isa-level", "/x", "2027-01-01"), ("isa-level", "/y", "2027-01-01"), ("pie", "/z", "2020-01-01"))
    assert made.cover("isa-level", "/x")
    assert [(check.outcome, check.grade, check.detail.split(":")[0]) for check in exemption_checks(made)] == [
        ("passed", "INFO", "in force until 2027-01-01"),
        ("passed", "INFO", "covers nothing here"),
        ("passed", "INFO", "covers nothing here"),
    ]


ENTRY = "rule: isa-level\n    where: /usr/lib64/libx.so\n    reason: asks the processor itself\n    until: 2027-06-30\n"


@pytest.mark.parametrize("text", [f"  - {ENTRY}", f"name: x\nexemptions:\n  - {ENTRY}"])
def test_a_list_or_a_package_s_file_is_read(tmp_path, text):
    (tmp_path / "e.yaml").write_text(text)
    (entry,) = load_exemptions(tmp_path / "e.yaml")
    assert (entry.rule, entry.until) == ("isa-level", "2027-06-30")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"  - {ENTRY.replace('rule', 'rules')}", "unknown key"),
        (f"  - {ENTRY.replace('asks the processor itself', 'shorter')}", "at least 10 characters"),
        (f"exemptions:\n  - {ENTRY.replace('2027-06-30', 'soon')}", "a date: YYYY-MM-DD"),
        ("name: x\n", "no exemptions"),
        ("", "an empty file"),
    ],
)
def test_a_mistake_in_a_file_of_exceptions_names_its_line(tmp_path, text, words):
    (tmp_path / "e.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words) as raised:
        load_exemptions(tmp_path / "e.yaml")
    assert "e.yaml" in str(raised.value)
