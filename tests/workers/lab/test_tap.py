"""TAP, read strictly: nothing that is missing may look like a pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.lab import tap

WHOLE = """TAP version 14
# kernel 6.12 on s390x, up 3.78 s
1..2
# Subtest: a.sh
    TAP version 13
    1..3
    ok 1 - first
    not ok 2 - second
    # it said this
    # and that
    ok 3 - third # SKIP no such device
ok 1 - a.sh
# Subtest: b.sh
    some words
ok 2 - b.sh
# END
"""


def outcomes(text: str) -> list[tuple[str, str]]:
    return [(case.name, case.outcome) for case in tap.parse(text)]


def failures(text: str) -> list[str]:
    return [f"{case.name}: {case.reason}" for case in tap.parse(text) if case.outcome == "fail"]


def test_a_whole_report_is_read():
    assert outcomes(WHOLE) == [
        ("a.sh: first", "pass"), ("a.sh: second", "fail"), ("a.sh: third", "skip"), ("b.sh", "pass")
    ]  # fmt: skip
    cases = {case.name: case for case in tap.parse(WHOLE)}
    assert cases["a.sh: second"].detail == "it said this\nand that"
    assert cases["a.sh: third"].reason == "no such device"


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        (("# END\n", ""), "protocol: the report has no end"),
        (("1..2\n", ""), "protocol: no plan"),
        (("1..2\n", "1..3\n"), "protocol: 2 results where the plan says 3"),
        (("1..2\n", "1..2\n1..2\n"), "protocol: a second plan"),
        (("    1..3\n", ""), "a.sh: protocol: no plan"),
        (("    1..3\n", "    1..4\n"), "a.sh: protocol: 3 results where the plan says 4"),
        (("    ok 3", "    ok 2"), "a.sh: protocol: test 2 where 3 was due"),
        (("    some words\n", "    Bail out! no disk\n"), "b.sh: protocol: Bail out! no disk"),
        (("ok 2 - b.sh\n", "not ok 2 - b.sh\n# exit status 132\n"),
         "b.sh: killed by SIGILL: an instruction that this CPU does not have"),
        (("ok 2 - b.sh\n", "not ok 2 - b.sh\n# exit status 3\n"), "b.sh: exit status 3"),
        (("ok 1 - a.sh\n", "not ok 1 - a.sh\n# exit status 1\n"), "a.sh: exit status 1"),
        (("ok 2 - b.sh\n# END\n", ""), "b.sh: it did not finish"),
    ],
)  # fmt: skip
def test_each_fault_is_a_failure_of_its_own(change, failure):
    assert WHOLE.count(change[0]) >= 1
    assert failure in failures(WHOLE.replace(*change, 1))


def test_a_failing_script_shows_its_last_words():
    case = tap.parse(WHOLE.replace("ok 2 - b.sh", "not ok 2 - b.sh"))[-1]
    assert (case.name, case.outcome, case.detail) == ("b.sh", "fail", "some words")


def test_a_known_fault_is_a_skip_and_an_unplanned_todo_pass_is_a_pass():
    text = "1..2\nnot ok 1 - x # TODO upstream bug\nok 2 - y # todo soon\n# END\n"
    assert [(c.outcome, c.reason) for c in tap.parse(text)] == [("skip", "todo: upstream bug"), ("pass", "soon")]


def test_a_plan_of_none_is_a_skip_only_with_a_reason_for_it():
    assert [(c.name, c.outcome, c.reason) for c in tap.parse("1..0 # SKIP no hardware\n# END\n")] == [
        ("all", "skip", "no hardware")
    ]


@pytest.mark.parametrize("text", ["", "# END\n", "TAP version 14\n", "ok 1 - a\n", "\n# END\n", "hello"])
def test_silence_fails(text):
    assert failures(text)


@pytest.mark.parametrize("status", [1, 2, 126, 127, 128, 200, 255])
def test_an_exit_status_that_is_no_signal_is_a_number(status):
    assert tap.describe_status(status) == f"exit status {status}"


@given(st.text(max_size=300))
def test_any_text_is_read_and_none_of_it_passes_without_an_end(text):
    assert failures(text + "\nx")


@given(st.lists(st.sampled_from(WHOLE.splitlines()), max_size=20), st.integers(0, 20))
def test_a_report_cut_anywhere_fails(lines, at):
    whole = WHOLE.splitlines(keepends=True)
    if at < len(whole):
        assert failures("".join(whole[:at]))
    tap.parse("\n".join(lines))
