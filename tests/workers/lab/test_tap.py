"""The strict TAP parser: a report with a missing part never passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.lab.machine import tap

WHOLE = """TAP version 14
# kernel 6.12 on s390x, up 3.78 s
1..2
# Subtest: a.sh
    TAP version 13
    1..3
    ok 1 - first
    not ok 2 - second
    # the first line
    # and the second
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
    return [f"{case.name}: {case.reason}" for case in tap.parse(text) if case.outcome == "failed"]


def test_a_whole_report_is_read():
    assert outcomes(WHOLE) == [
        ("a.sh: first", "passed"), ("a.sh: second", "failed"), ("a.sh: third", "skipped"), ("b.sh", "passed")
    ]  # fmt: skip
    cases = {case.name: case for case in tap.parse(WHOLE)}
    assert cases["a.sh: second"].detail == "the first line\nand the second"
    assert cases["a.sh: third"].reason == "no such device"


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        (("# END\n", ""), "protocol: the report has no end"),
        (("1..2\n", ""), "protocol: no plan"),
        (("1..2\n", "1..3\n"), "protocol: 2 results, but the plan has 3"),
        (("1..2\n", "1..2\n1..2\n"), "protocol: a second plan"),
        (("    1..3\n", ""), "a.sh: protocol: no plan"),
        (("    1..3\n", "    1..4\n"), "a.sh: protocol: 3 results, but the plan has 4"),
        (("    ok 3", "    ok 2"), "a.sh: protocol: test number 2, expected 3"),
        (("    some words\n", "    Bail out! no disk\n"), "b.sh: protocol: Bail out! no disk"),
        (("ok 2 - b.sh\n", "not ok 2 - b.sh\n# exit status 132\n"),
         "b.sh: killed by SIGILL: an instruction that this CPU does not have"),
        (("ok 2 - b.sh\n", "not ok 2 - b.sh\n# exit status 3\n"), "b.sh: exit status 3"),
        (("ok 1 - a.sh\n", "not ok 1 - a.sh\n# exit status 1\n"), "a.sh: exit status 1"),
        (("ok 2 - b.sh\n# END\n", ""), "b.sh: it did not finish"),
    ],
)  # fmt: skip
def test_each_error_of_a_report_is_a_separate_failure(change, failure):
    assert WHOLE.count(change[0]) >= 1
    assert failure in failures(WHOLE.replace(*change, 1))


def test_a_failing_script_shows_its_last_output():
    case = tap.parse(WHOLE.replace("ok 2 - b.sh", "not ok 2 - b.sh"))[-1]
    assert (case.name, case.outcome, case.detail) == ("b.sh", "failed", "some words")


def test_a_failed_todo_is_skipped_and_a_passed_todo_has_passed():
    text = "1..2\nnot ok 1 - x # TODO upstream bug\nok 2 - y # todo soon\n# END\n"
    assert [(c.outcome, c.code, c.reason) for c in tap.parse(text)] == [
        ("skipped", "todo", "upstream bug"), ("passed", "", "soon")
    ]  # fmt: skip


def test_a_plan_without_tests_is_skipped_with_its_reason():
    assert [(c.name, c.outcome, c.code, c.reason) for c in tap.parse("1..0 # SKIP no hardware\n# END\n")] == [
        ("all", "skipped", "tap", "no hardware")
    ]


TIMED = """# READY 3.78
TAP version 14
1..3
# Subtest: a.sh
    1..4
    words
    ok 1 - first
    # at 4.00
    not ok 2 - second
    # at 4.50
    # the first line
    ok 3 - third
      ---
      duration_ms: 125.5
      ...
    # at 6.00
    ok 4 - fourth # SKIP no such device
    # at 6.25
not ok 1 - a.sh
# exit status 1
# from 3.80 to 6.50
# Subtest: b.sh
    ok no plan of mine
    # at 6.60
not ok 2 - b.sh
# exit status 9
# from 6.50 to 8.75
# Subtest: c.sh
ok 3 - c.sh
# from 8.75 to 9.00
# END
"""


def test_the_duration_of_a_case_comes_from_the_guest_s_clock_or_from_its_yaml_block():
    cases = {case.name: case for case in tap.parse(TIMED)}
    seconds = {name: case.seconds for name, case in cases.items()}
    assert seconds["a.sh: first"] == 0.2
    assert seconds["a.sh: second"] == 0.5
    assert seconds["a.sh: third"] == 0.126
    assert seconds["a.sh: fourth"] == 0.25
    assert seconds["a.sh"] == pytest.approx(2.7 - 0.2 - 0.5 - 0.126 - 0.25, abs=0.001)  # the rest of the script's time
    assert seconds["c.sh"] == 0.25
    assert sum(seconds.values()) == pytest.approx(9.00 - 3.80, abs=0.001)


def test_the_times_of_the_guest_s_clock_are_no_detail_and_no_error():
    cases = {case.name: case for case in tap.parse(TIMED)}
    assert cases["a.sh: second"].detail == "the first line"
    assert cases["b.sh"].detail == "ok no plan of mine"
    assert cases["b.sh"].reason == "exit status 9"
    assert [name for name, case in cases.items() if case.outcome == "failed"] == [
        "a.sh: second", "a.sh", "b.sh: protocol", "b.sh"
    ]  # fmt: skip


def test_a_yaml_block_is_part_of_the_detail():
    block = "    not ok 2 - second\n      ---\n      message: too big\n      duration_ms: 5\n      got: 7\n      ...\n"
    case = next(c for c in tap.parse(WHOLE.replace("    not ok 2 - second\n", block)) if c.name == "a.sh: second")
    assert (case.detail, case.seconds) == ("message: too big\ngot: 7\nthe first line\nand the second", 0.005)


def test_a_yaml_block_without_an_end_fails():
    assert "a.sh: protocol: 2 results, but the plan has 3" in failures(
        WHOLE.replace("    # the first line", "      ---")
    )


@pytest.mark.parametrize("line", ["# at 1e400", "# at -5", "# at " + "9" * 400, "# from 9 to 1", "# at 0"])
def test_a_test_that_prints_times_like_the_clock_gets_no_impossible_duration(line):
    text = TIMED.replace("    words\n    ok 1 - first\n", f"    ok 1 - first\n    {line}\n")
    assert all(0 <= case.seconds < 100 for case in tap.parse(text))


@pytest.mark.parametrize("line", ["1..{}", "ok {} - x", "not ok 1 - x\n# exit status {}"])
def test_a_number_of_thousands_of_digits_fails(line):
    text = line.format("9" * 5000)
    indented = "".join(f"    {part}\n" for part in text.splitlines())
    assert failures(f"1..1\n{text}\n# END\n")
    assert failures(f"1..1\n# Subtest: a.sh\n{indented}ok 1 - a.sh\n# END\n")


def test_subtests_that_are_nested_very_deep_fail():
    nested = "".join(f"{'    ' * depth}# Subtest: {depth}\n" for depth in range(1500))
    assert any("nested more than" in failure for failure in failures(f"1..1\n{nested}ok 1 - 0\n# END\n"))


@pytest.mark.parametrize("text", ["", "# END\n", "TAP version 14\n", "ok 1 - a\n", "\n# END\n", "hello"])
def test_a_report_without_content_fails(text):
    assert failures(text)


@pytest.mark.parametrize("status", [1, 2, 126, 127, 128, 200, 255])
def test_an_exit_status_that_is_no_signal_is_a_number(status):
    assert tap.describe_status(status) == f"exit status {status}"


@given(st.text(max_size=300))
def test_any_text_without_an_end_marker_is_read_and_fails(text):
    assert failures(text + "\nx")


@given(st.lists(st.sampled_from(WHOLE.splitlines()), max_size=20), st.integers(0, 20))
def test_a_report_cut_anywhere_fails(lines, at):
    whole = WHOLE.splitlines(keepends=True)
    if at < len(whole):
        assert failures("".join(whole[:at]))
    tap.parse("\n".join(lines))
