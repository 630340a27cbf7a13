"""BuildRequires are resolved against sandbox-base and what is staged, and refused in words a person understands."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from tests.workers.promotion import hostile
from tests.workers.publishing import write_index
from workers.base.errors import CannotRun, CheckFailed
from workers.formats.rpm_header import Dependency
from workers.repository import index
from workers.repository.buildroot import Solvable, read_repository, read_solvable, resolve


def package(name: str, evr: str = "1-1.el10", arch: str = "s390x", **more: object) -> Solvable:
    return Solvable(name, evr, arch, Path(f"/staged/{name}.rpm"), **more)  # type: ignore[arg-type]


BASE = package("sandbox-base", provides=(Dependency("gcc"), Dependency("libc.so.6()(64bit)"), Dependency("/bin/sh")))
ZLIB = package(
    "zlib", "1.3.1-1.el10", provides=(Dependency("libz.so.1()(64bit)"),), requires=(Dependency("libc.so.6()(64bit)"),)
)
DEVEL = package(
    "zlib-devel", "1.3.1-1.el10", requires=(Dependency("zlib", "EQ", "1.3.1-1.el10"),), files=("/usr/include/zlib.h",)
)


def names(*requires: Dependency, staged: tuple[Solvable, ...] = (ZLIB, DEVEL)) -> list[str]:
    return [found.name for found in resolve("pigz", requires, BASE, staged, "s390x")]


def test_what_the_tree_brings_needs_no_package() -> None:
    assert names(Dependency("gcc"), Dependency("/bin/sh")) == []


def test_what_a_staged_package_needs_comes_along() -> None:
    assert names(Dependency("gcc"), Dependency("zlib-devel", "GE", "1.3")) == ["zlib", "zlib-devel"]


def test_a_file_may_be_asked_for() -> None:
    assert names(Dependency("/usr/include/zlib.h")) == ["zlib", "zlib-devel"]


def test_a_rich_dependency_is_understood() -> None:
    assert names(Dependency("(zlib-ng-devel or zlib-devel)")) == ["zlib", "zlib-devel"]


def test_of_two_versions_the_newer_is_taken() -> None:
    newer = package("zlib", "1.3.2-1.el10", provides=(Dependency("libz.so.1()(64bit)"),))
    found = resolve("pigz", [Dependency("libz.so.1()(64bit)")], BASE, [ZLIB, newer], "s390x")
    assert found == [newer]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Dependency("zlib-ng-devel"), "pigz needs zlib-ng-devel, which nothing staged on s390x provides"),
        (Dependency("zlib-devel", "GE", "1.4"), "pigz needs zlib-devel >= 1.4, which nothing staged on s390x provides"),
    ],
)
def test_what_nothing_provides_is_named(asked: Dependency, words: str) -> None:
    with pytest.raises(CheckFailed) as caught:
        names(asked)
    assert str(caught.value) == words


def test_a_staged_package_that_lacks_something_is_named() -> None:
    with pytest.raises(CheckFailed, match=r"nothing provides zlib = 1\.3\.1-1\.el10 needed by zlib-devel"):
        names(Dependency("zlib-devel"), staged=(DEVEL,))


def test_another_architectures_packages_do_not_count() -> None:
    with pytest.raises(CheckFailed, match="nothing staged on s390x"):
        names(Dependency("zlib-devel"), staged=(ZLIB, package("zlib-devel", "1.3.1-1.el10", "aarch64")))


HEAD = """
Epoch: 1
Requires: zlib >= 0:1.3, (a or b), /bin/sh
Provides: virtual = 2:3-4, plain
Conflicts: old < 2
Obsoletes: older <= 1.0~rc1
"""


def test_a_package_is_the_same_by_its_header_and_by_an_index(tmp_path: Path) -> None:
    """createrepo_c, which reads headers with librpm, is the second opinion on our own reader."""
    rpms = hostile.rpms_of(tmp_path / "made", "odd", HEAD)
    folder = tmp_path / "repository"
    folder.mkdir()
    for rpm in rpms:
        shutil.copy(rpm, folder)
    by_header = read_repository(folder)
    write_index(folder, [index.describe(rpm, rpm.name) for rpm in sorted(folder.glob("*.rpm"))], 1)
    by_index = read_repository(folder)
    assert len(by_header) == 2
    binary, source = sorted(by_header, key=lambda each: each.arch)
    assert (binary.evr, binary.source, source.arch, source.source) == ("1:1-1.el10", "odd", "src", "")
    assert {*map(str, binary.requires)} == {"zlib >= 1.3", "(a or b)", "/bin/sh"}
    assert {*map(str, binary.conflicts)} == {"old < 2"}
    assert [binary] == [each for each in by_index if each.arch != "src"]


def test_a_package_with_text_that_is_not_utf_8_is_refused_in_one_line(tmp_path: Path) -> None:
    rpm = hostile.rpms_of(tmp_path, "odd", "Provides: strange")[0]
    with pytest.raises(CannotRun, match=r"^the header of odd-.*\.rpm has text that is not UTF-8"):
        read_solvable(hostile.edited(rpm, b"strange", b"str\xffnge"))


def test_a_header_with_text_for_numbers_is_refused_in_one_line(tmp_path: Path) -> None:
    rpm = hostile.rpms_of(tmp_path, "odd", "Epoch: 1")[0]
    with pytest.raises(
        CannotRun, match=r"^odd-.*\.rpm is not a readable RPM package: its tag 1003 is text, not numbers"
    ):
        read_solvable(hostile.edited(rpm, struct.pack(">II", 1003, 4), struct.pack(">II", 1003, 6)))
