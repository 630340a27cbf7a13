"""Opt-outs in specs: their lines and conditions, compared with what rpm does with the same text."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.base.errors import MalformedError
from workers.base.run import run
from workers.formats.rpm_payload import Entry
from workers.verify.spec import OptOut, opt_outs, spec_of

HEAD = "Name: t\nVersion: 1\nRelease: 1\nSummary: t\nLicense: MIT\nURL: https://example.org\n"
TAIL = "\n%description\nA spec of the tests: %{!?_include_frame_pointers:OPTED OUT}\n"
UNDEFINE = "%undefine _include_frame_pointers"

# Text of a spec → which of the two architectures it opts out.
EXACT = {
    UNDEFINE: {"x86_64", "s390x"},
    f"  {UNDEFINE}": {"x86_64", "s390x"},
    f"# {UNDEFINE}": {"x86_64", "s390x"},
    f"# %{UNDEFINE}": set(),
    f"%dnl {UNDEFINE}": set(),
    "%{undefine _include_frame_pointers}": {"x86_64", "s390x"},
    "%undefine _include_frame_pointers_too": set(),
    "%global _include_frame_pointers 0": set(),
    "%define _include_frame_pointers %{nil}": set(),
    f"%if 0\n{UNDEFINE}\n%endif": set(),
    f"%if 1\n{UNDEFINE}\n%endif": {"x86_64", "s390x"},
    f"%if 0\n%else\n{UNDEFINE}\n%endif": {"x86_64", "s390x"},
    f"%ifarch s390x\n{UNDEFINE}\n%endif": {"s390x"},
    f"%ifnarch s390x\n{UNDEFINE}\n%endif": {"x86_64"},
    f"%ifarch ppc64le s390x\n{UNDEFINE}\n%endif": {"s390x"},
    f"%ifarch ppc64le\n{UNDEFINE}\n%endif": set(),
    f"%ifarch %{{ix86}} x86_64\n{UNDEFINE}\n%endif": {"x86_64"},
    f"%ifarch s390x\n%else\n{UNDEFINE}\n%endif": {"x86_64"},
    f"%ifarch s390x\n%ifarch x86_64\n{UNDEFINE}\n%endif\n%endif": set(),
    f"%ifarch ppc64le\n%elifarch x86_64\n{UNDEFINE}\n%endif": {"x86_64"},
    f"%ifarch x86_64\n%elifarch x86_64 s390x\n{UNDEFINE}\n%endif": {"s390x"},
    f"{UNDEFINE}\n%global _include_frame_pointers 1": set(),
    f"{UNDEFINE}\n%ifarch x86_64\n%define _include_frame_pointers 1\n%endif": {"s390x"},
    f"%global _include_frame_pointers 1\n{UNDEFINE}": set(),
    f"%global _include_frame_pointers 1\n{UNDEFINE}\n{UNDEFINE}": {"x86_64", "s390x"},
    f"%ifarch s390x\n%global _include_frame_pointers 0\n%endif\n{UNDEFINE}": {"x86_64"},
    f"{UNDEFINE}\n{UNDEFINE}\n%global _include_frame_pointers 1": set(),
}


def applied(found: tuple[OptOut, ...], architecture: str) -> list[bool | None]:
    return [opt_out.applies_to(architecture) for opt_out in found]


@pytest.mark.parametrize("text", EXACT)
def test_opt_out_applies_if_its_conditions_are_true(text):
    found = opt_outs(HEAD + text + TAIL)
    assert {arch for arch in ("x86_64", "s390x") if True in applied(found, arch)} == EXACT[text]
    assert None not in applied(found, "x86_64")


@pytest.mark.skipif(shutil.which("rpmspec") is None, reason="rpmspec is not installed")
@pytest.mark.parametrize("text", EXACT)
def test_rpm_agrees(tmp_path, text):
    spec = tmp_path / "t.spec"
    spec.write_text(HEAD + text + TAIL)
    distribution = ["--define", "_include_frame_pointers 1"]
    out = {
        arch
        for arch in ("x86_64", "s390x")
        if "OPTED OUT" in run(["rpmspec", "-P", "--target", f"{arch}-linux", *distribution, spec], cwd=tmp_path).output
    }
    assert out == EXACT[text]


def test_line_and_text_are_those_of_the_spec():
    (found,) = opt_outs(f"{HEAD}%ifarch s390x\n%if 0%{{?rhel}} > 9\n{UNDEFINE}\n%endif\n%endif\n")
    assert (found.line, found.kind, found.statement) == (9, "undefined", UNDEFINE)
    assert str(found) == f"line 9: {UNDEFINE} (ifarch s390x and if 0%{{?rhel}} > 9)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"%if %{{with clang}}\n{UNDEFINE}\n%endif", "if %{with clang}"),
        (f"%if %{{with clang}}\n%else\n{UNDEFINE}\n%endif", "not (if %{with clang})"),
        (f"%ifarch %{{java_arches}}\n{UNDEFINE}\n%endif", "ifarch %{java_arches}"),
        (f"%{{?with_clang:{UNDEFINE}}}", "%{?with_clang:"),
        (f"%if %{{with gcc}}\n%elif 0%{{?fedora}}\n{UNDEFINE}\n%endif", "not (if %{with gcc}) and if 0%{?fedora}"),
    ],
)
def test_condition_that_only_rpm_can_decide_is_shown_as_text(text, words):
    (found,) = opt_outs(HEAD + text + TAIL)
    assert " and ".join(map(str, found.conditions)).startswith(words)
    assert found.applies_to("x86_64") is None


def test_definition_that_only_rpm_can_decide_leaves_the_opt_out_undecided():
    found = opt_outs(f"{HEAD}{UNDEFINE}\n%if %{{with gcc}}\n%global _include_frame_pointers 1\n%endif{TAIL}")
    assert applied(found, "x86_64") == [None]


def test_x86_64_v2_counts_as_x86_64():
    (found,) = opt_outs(f"{HEAD}%ifarch x86_64\n{UNDEFINE}\n%endif{TAIL}")
    assert found.applies_to("x86_64_v2") is True
    (found,) = opt_outs(f"{HEAD}%ifnarch x86_64\n{UNDEFINE}\n%endif{TAIL}")
    assert found.applies_to("x86_64_v2") is False


@pytest.mark.parametrize("value", ["0", "%{nil}", ""])
def test_a_definition_meant_as_opt_out_is_shown_and_excuses_nothing(value):
    (found,) = opt_outs(f"{HEAD}%global _include_frame_pointers {value}{TAIL}")
    assert found.kind == "defined"
    assert found.applies_to("x86_64") is False


@pytest.mark.parametrize(
    "line",
    [
        "%global optflags %{optflags} -fomit-frame-pointer",
        "%global optflags %(echo %{optflags} | sed -e 's/-fno-omit-frame-pointer//')",
        "export CFLAGS=${CFLAGS/-mno-omit-leaf-frame-pointer/}",
        "make CFLAGS='%{optflags} -momit-leaf-frame-pointer'",
        "CFLAGS+=' -mno-backchain'",
    ],
)
def test_flags_that_a_spec_changes_itself_are_shown_and_excuse_nothing(line):
    (found,) = opt_outs(f"{HEAD}%build\n{line}\n{TAIL}")
    assert (found.kind, found.line, found.statement) == ("flags", 8, line)
    assert found.applies_to("x86_64") is False


@pytest.mark.parametrize(
    "line",
    [
        "%global optflags %{optflags} -fno-omit-frame-pointer",
        "# upstream builds with -fomit-frame-pointer",
        "%global _lto_cflags %{nil}",
        "sed -i s/-O3// Makefile",
        f"%changelog\n- {UNDEFINE} and -fomit-frame-pointer",
    ],
)
def test_other_lines_are_no_opt_outs(line):
    assert opt_outs(f"{HEAD}{line}\n") == ()


@pytest.mark.parametrize("text", ["%endif", "%else", "%if 1\n%endif\n%endif", "%if 1\n" * 101])
def test_conditions_that_do_not_match_are_refused(text):
    with pytest.raises(MalformedError, match=r"line \d+ of the spec"):
        opt_outs(text)


@given(st.lists(st.sampled_from([*EXACT, "%if 1", "%else", "%endif", "%elif x", "%ifarch", "%", "\0"]), max_size=12))
def test_any_text_is_read_or_refused(lines):
    text = "\n".join(lines)
    with contextlib.suppress(MalformedError):
        found = opt_outs(text)
        assert [o.statement for o in found] == [text.split("\n")[o.line - 1].strip() for o in found]


def test_the_one_spec_of_a_source_package_is_found(tmp_path: Path):
    content = tmp_path / "1"
    content.write_text(UNDEFINE)
    spec = Entry("/t.spec", "file", 0o644, content=content, size=content.stat().st_size)
    tarball = Entry("/t.tar.gz", "file", 0o644, content=content)
    assert spec_of([tarball, spec]) == UNDEFINE
    with pytest.raises(MalformedError, match="has 0"):
        spec_of([tarball])
    with pytest.raises(MalformedError, match="has 2"):
        spec_of([spec, spec])
    with pytest.raises(MalformedError, match="a spec of 99999999 bytes"):
        spec_of([Entry("/t.spec", "file", 0o644, content=content, size=99_999_999)])
