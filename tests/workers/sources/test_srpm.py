from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from config.models import SourcePackage
from workers.base.errors import CheckFailed
from workers.sources import srpm


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "error: line 12: Unknown tag: Foo\nerror: query of specfile zlib.spec failed, can't parse\n",
            "zlib.spec:12: Unknown tag: Foo",
        ),
        ("warning: x\nerror: SPECS/zlib.spec: line 3: Unclosed %if\n", "zlib.spec:3: Unclosed %if"),
        ("error: Bad source: /builddir/SOURCES/a.tar: No such file\n", "zlib.spec: Bad source: a.tar: No such file"),
        ("something else\nlast words\n", "zlib.spec: last words"),
        ("", "zlib.spec: rpm failed without a message"),
    ],
)
def test_rpms_first_error_becomes_file_line_and_reason(output: str, message: str) -> None:
    assert srpm.first_error(output, "zlib.spec") == message


def test_the_newest_changelog_entry_gives_the_time() -> None:
    spec = "Name: a\n* Mon Jan 01 1990 no entry\n\n%changelog\n"
    spec += "* Mon Jun 02 2025 a <a@localhost> - 1-1\n- b\n* Sun Jun 01 2025 c\n"
    assert srpm.changelog_seconds(spec) == 1748865600  # 2025-06-02 12:00 UTC
    assert srpm.changelog_seconds("Name: a\n\n%changelog\n%autochangelog\n") is None
    assert srpm.changelog_seconds("") is None


def test_exactly_one_spec_is_required(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="found: none"):
        srpm.only_spec(tmp_path)
    (tmp_path / "a.spec").touch()
    assert srpm.only_spec(tmp_path) == tmp_path / "a.spec"
    (tmp_path / "b.spec").touch()
    with pytest.raises(CheckFailed, match=r"found: a\.spec, b\.spec"):
        srpm.only_spec(tmp_path)


def test_an_unlisted_package_is_reported_with_file_and_key() -> None:
    package = SourcePackage(name="zlib", binaries=("zlib", "zlib-devel"))
    srpm.check_binaries(package, "zlib.spec", ["zlib"], "config/demo/packages/zlib.yaml")
    with pytest.raises(
        CheckFailed,
        match=r"zlib\.spec makes zlib-static, not listed in config/demo/packages/zlib\.yaml: add to binaries",
    ):
        srpm.check_binaries(package, "zlib.spec", ["zlib", "zlib-static"], "config/demo/packages/zlib.yaml")


def folder_with_tests(folder: Path, order: list[str], mode: int) -> Path:
    (folder / "tests" / "data").mkdir(parents=True)
    for name in order:
        (folder / "tests" / name).write_text(name)
        (folder / "tests" / name).chmod(mode | (0o111 if name.endswith(".sh") else 0))
    (folder / "tests" / "again.sh").symlink_to("smoke.sh")
    os.utime(folder / "tests" / "smoke.sh", (len(order), mode))
    return folder


def test_packed_tests_depend_only_on_their_content(tmp_path: Path) -> None:
    one = folder_with_tests(tmp_path / "one", ["smoke.sh", "data/a", "b"], 0o644)
    other = folder_with_tests(tmp_path / "other", ["b", "data/a", "smoke.sh"], 0o600)
    assert srpm.pack_tests(one, tmp_path / "one.tar", 1000)
    assert srpm.pack_tests(other, tmp_path / "other.tar", 1000)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "other.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        modes = {entry.name: (entry.mode, entry.uid, entry.mtime) for entry in archive}
        link = archive.getmember("again.sh")
    assert modes == {
        "again.sh": (0o777, 0, 1000),
        "b": (0o644, 0, 1000),
        "data": (0o755, 0, 1000),
        "data/a": (0o644, 0, 1000),
        "smoke.sh": (0o755, 0, 1000),
    }
    assert link.linkname == "smoke.sh"


def test_a_package_without_tests_has_no_archive(tmp_path: Path) -> None:
    assert not srpm.pack_tests(tmp_path, tmp_path / "tests.tar", 0)
    assert not (tmp_path / "tests.tar").exists()
