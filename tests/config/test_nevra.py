"""NEVRA: versions are ordered as rpm does; names are parsed as rpm prints them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.nevra import Nevra, compare_versions, is_debug, without_debug

# Older, newer: the cases of rpm's own test suite (tests/rpmvercmp.at) and of the examples in rpm-version(7).
OLDER_NEWER = """
1.0 < 2.0, 2.0 < 2.0.1, 2.0.1 < 2.0.1a, 5.5p1 < 5.5p2, 5.5p1 < 5.5p10, 10xyz < 10.1xyz,
xyz10 < xyz10.1, xyz.4 < 8, xyz.4 < 2, 5.5p2 < 5.6p1, 5.6p1 < 6.5p1, 6.0 < 6.0.rc1, 10a2 < 10b2,
10a1 < 10b2, 1.0a < 1.0aa, 10.0001 < 10.0039, 4.999.9 < 5.0, 20101121 < 20101122, 1.0~rc1 < 1.0,
1.0~rc1 < 1.0~rc2, 1.0~rc1~git123 < 1.0~rc1, 1.0 < 1.0^, 1.0 < 1.0^git1, 1.0^git1 < 1.0^git2,
1.0^git1 < 1.01, 1.0^20160101 < 1.0.1, 1.0^20160101^git1 < 1.0^20160102, 1.0~rc1 < 1.0~rc1^git1,
1.0^git1~pre < 1.0^git1, 0 < 0.0, 1.xyz < 1.0, 1 < 1.xyz, 2.0~beta1 < 2.0~rc1, 1.0 < 2.0~beta1,
2.0^150825 < 2.0.1
"""
EQUAL = """
1.0 = 1.0, 2.0.1a = 2.0.1a, 10.0001 = 10.1, 2.0 = 2_0, a+ = a_, +a = _a, +_ = _+, + = _,
1.0~rc1 = 1.0~rc1, 1.0^ = 1.0^, abc123 = abc.000123, 1.0 = 1+.+0, 1.1.é = 1.1.ü
"""


def pairs(text: str, sign: str) -> list[list[str]]:
    return [
        pair.strip().split(f" {sign} ") for pair in text.strip().replace("\n", " ").replace(",  ", ", ").split(", ")
    ]


VERSIONS = st.text("0019abAZ.+_~^", max_size=12)
REAL_PARTS = st.from_regex(r"[A-Za-z0-9._+~^]{1,12}", fullmatch=True)


@pytest.mark.parametrize(("older", "newer"), pairs(OLDER_NEWER, "<"))
def test_an_older_version_sorts_before_a_newer_one(older: str, newer: str) -> None:
    assert compare_versions(older, newer) == -1
    assert compare_versions(newer, older) == 1


@pytest.mark.parametrize(("one", "other"), pairs(EQUAL, "="))
def test_versions_that_rpm_takes_as_equal_are_equal(one: str, other: str) -> None:
    assert compare_versions(one, other) == compare_versions(other, one) == 0


@given(VERSIONS, VERSIONS)
def test_order_is_antisymmetric(one: str, other: str) -> None:
    assert compare_versions(one, other) == -compare_versions(other, one)


@given(st.lists(VERSIONS, min_size=3, max_size=3))
def test_order_is_transitive(three: list[str]) -> None:
    a, b, c = three
    if compare_versions(a, b) <= 0 and compare_versions(b, c) <= 0:
        assert compare_versions(a, c) <= 0


@given(VERSIONS)
def test_tilde_is_older_and_caret_newer(version: str) -> None:
    assert compare_versions(version + "~1", version) == -1
    assert compare_versions(version + "^1", version) == 1
    assert compare_versions(version + "^1", version + ".1") == -1


def test_numbers_may_have_any_length() -> None:
    assert compare_versions("9" * 10_000, "1" + "0" * 10_000) == -1


@pytest.mark.skipif(shutil.which("rpm") is None, reason="needs rpm to compare with: apt-get install rpm")
@settings(max_examples=20)
@given(st.lists(st.tuples(VERSIONS.filter(bool), VERSIONS.filter(bool)), min_size=20, max_size=100))
def test_rpm_itself_agrees(pairs: list[tuple[str, str]]) -> None:
    calls = " ".join(f"print(rpm.vercmp('{one}','{other}')..' ');" for one, other in pairs)
    done = subprocess.run(["rpm", "--eval", f"%{{lua:{calls}}}"], capture_output=True, text=True, check=True)
    assert [int(word) for word in done.stdout.split()] == [compare_versions(*pair) for pair in pairs]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bzip2-1.0.8-1.el10.x86_64", ("bzip2", 0, "1.0.8", "1.el10", "x86_64")),
        ("bzip2-libs-1.0.8-1.el10.x86_64_v2", ("bzip2-libs", 0, "1.0.8", "1.el10", "x86_64_v2")),
        ("dnf-4:4.20.0-1.el10.alma.1.noarch", ("dnf", 4, "4.20.0", "1.el10.alma.1", "noarch")),
        ("libstdc++-14.2.1-7.el10.s390x", ("libstdc++", 0, "14.2.1", "7.el10", "s390x")),
        ("kernel-6.12.0-35.el10.src", ("kernel", 0, "6.12.0", "35.el10", "src")),
        ("python3.12-3.12.5~rc1^2.git-0.1.el10.aarch64", ("python3.12", 0, "3.12.5~rc1^2.git", "0.1.el10", "aarch64")),
        ("a-b-c-1-2.noarch", ("a-b-c", 0, "1", "2", "noarch")),
    ],
)
def test_the_parts_of_a_name(text: str, parts: tuple[str, int, str, str, str]) -> None:
    nevra = Nevra.parse(text)
    assert (nevra.name, nevra.epoch, nevra.version, nevra.release, nevra.arch) == parts
    assert str(nevra) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "bzip2", "bzip2-1.0.8", "bzip2-1.0.8.x86_64", "-1-2.noarch", "a-x:1-2.noarch", "a-1-2.", "a-1-2.x/y"),
        *("a-1 0-2.noarch", "a-1-2.noarch\n", "a-99999999999:1-2.noarch"),
    ],
)
def test_text_that_is_no_package_is_rejected_in_one_line(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"not a package: .*the form is name-\[epoch:\]version-release\.arch"
    ) as caught:
        Nevra.parse(text)
    assert "\n" not in str(caught.value)


def test_the_file_name_of_an_rpm() -> None:
    nevra = Nevra.from_file("https://example.org/x-1-1.noarch/zlib-devel-1.3.1-1.el10.ppc64le.rpm")
    assert nevra == Nevra("zlib-devel", 0, "1.3.1", "1.el10", "ppc64le")
    assert nevra.file == "zlib-devel-1.3.1-1.el10.ppc64le.rpm"
    with pytest.raises(ValueError, match=r"not an RPM: 'zlib-1\.3\.1\.tar\.gz'"):
        Nevra.from_file("zlib-1.3.1.tar.gz")


@given(REAL_PARTS.filter(lambda p: p[0] not in "~^"), st.integers(0, 2**32 - 1), REAL_PARTS, REAL_PARTS)
def test_printed_name_parses_back(name: str, epoch: int, version: str, release: str) -> None:
    nevra = Nevra(name.replace("~", "-").replace("^", "-"), epoch, version, release, "x86_64")
    assert Nevra.parse(str(nevra)) == nevra


def test_packages_sort_by_name_then_version_then_arch() -> None:
    order = [
        "a-9-1.x86_64",
        "b-1~rc1-1.x86_64",
        "b-1-1.aarch64",
        "b-1-1.x86_64",
        "b-1-2.el10.aarch64",
        "b-1:0-1.x86_64",
    ]
    packages = [Nevra.parse(text) for text in order]
    assert sorted(packages[i] for i in (3, 0, 5, 1, 4, 2)) == packages


@pytest.mark.parametrize(
    ("name", "belongs_to"),
    [
        ("zlib-debuginfo", "zlib"),
        ("zlib-debugsource", "zlib"),
        ("zlib-ng-compat-debuginfo", "zlib-ng-compat"),
        ("glibc-debuginfo-common", "glibc"),
        ("kernel-debuginfo-common-x86_64", "kernel"),
        ("kernel-debuginfo-common-s390x", "kernel"),
        ("kernel-debug-debuginfo", "kernel-debug"),
        ("kernel-64k-debug-debuginfo", "kernel-64k-debug"),
    ],
)
def test_a_debug_package_belongs_to_another_package(name: str, belongs_to: str) -> None:
    assert is_debug(name)
    assert without_debug(name) == belongs_to


@pytest.mark.parametrize(
    "name",
    [
        *("zlib", "kernel-debug", "kernel-debug-core", "kernel-debug-devel", "kernel-core"),
        *("elfutils-debuginfod", "elfutils-debuginfod-client", "debugedit", "debuginfo", "zlib-debuginfo-tools"),
        *("kernel-debuginfo-common-x86_64-tools", "zlib-debuginfo\n", ""),
    ],
)
def test_other_packages_are_no_debug_packages(name: str) -> None:
    assert not is_debug(name)
    assert without_debug(name) == name


def test_epoch_outweighs_version() -> None:
    assert Nevra.parse("a-1:1-1.noarch").evr_key > Nevra.parse("a-2-1.noarch").evr_key


def test_packages_of_equal_age_can_differ() -> None:
    one, other = Nevra.parse("a-1.0-1.noarch"), Nevra.parse("a-1.00-1.noarch")
    assert one.evr_key == other.evr_key
    assert one != other
    assert (one < other) != (other < one)
