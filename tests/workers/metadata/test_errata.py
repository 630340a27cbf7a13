"""Errata: what users read about an update, for any text in a changelog; and dnf reads it."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.nevra import Nevra
from tests.workers.publishing import RpmFactory, write_index
from workers.base import namespace
from workers.metadata import errata
from workers.metadata.changelog import Entry, changelog, newer_entries
from workers.metadata.errata import Erratum, Updated
from workers.repository import index
from workers.repository.records import PublishedFile

ISSUED = datetime(2026, 11, 25, 8, 30, tzinfo=UTC)
OLD = (Entry("A <a@b> - 1.0-1", 1_700_000_000, "- First"),)
LIBS = Updated(Nevra("tiny-libs", 0, "2", "1.el10", "aarch64"), "a" * 64, "tiny-2-1.el10.src.rpm")


def erratum_of(text: str, *, old_version: str = "1.0", is_new: bool = False) -> Erratum:
    entries = (Entry("A <a@b> - 1.0-2", 1_700_086_400, text),)
    return errata.erratum(
        "KITTEN-2026:0001", "tiny", "1.0-2", entries, [LIBS], ISSUED, is_new=is_new, old_version=old_version
    )


def test_a_packages_changelog_is_read_newest_first() -> None:
    import createrepo_c

    package = createrepo_c.Package()
    package.changelogs = [("A <a@b> - 1-1", 1, "- old"), ("A <a@b> - 1:2-1", 2, "- new")]
    newest, oldest = changelog(package)
    assert (newest.text, oldest.text) == ("- new", "- old")
    assert newest.evr is not None
    assert (newest.evr.evr, Entry("A. Hyphen-Name", 1, "").evr) == ("1:2-1", None)


def test_entries_end_at_the_first_that_users_have() -> None:
    new = (Entry("A <a@b> - 1.0-3", 3, "- c"), Entry("A <a@b> - 1.0-2", 2, "- b"), *OLD)
    assert newer_entries(OLD, new, "1.0-1") == new[:2]


def test_a_rewritten_changelog_gives_only_newer_versions() -> None:
    new = (Entry("A <a@b> - 1:1.0-3", 3, "- c"), Entry("A <a@b> - 1.0-1", 2, "- b"), Entry("A <a@b>", 1, "- a"))
    assert newer_entries(OLD, new, "1.0-2") == (new[0], new[2])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("- Fix CVE-2024-12345 and rhbz#2222222", "security"),
        ("- fix cve-2024-1234", "security"),
        ("- Resolves: RHEL-1234", "bugfix"),
        ("- RFE: speak more languages (RHEL-9)", "enhancement"),
        ("- Rebase to 1.0", "enhancement"),
        ("- Rebuild", "bugfix"),
        ("- CVE-2024-1 is too short to be one", "bugfix"),
    ],
)
def test_what_the_entries_name_makes_the_kind(text: str, kind: str) -> None:
    assert erratum_of(text).kind == kind


def test_another_upstream_version_without_a_named_fix_is_an_enhancement() -> None:
    assert erratum_of("- Update", old_version="0.9").kind == "enhancement"
    assert erratum_of("- Resolves: RHEL-7", old_version="0.9").kind == "bugfix"
    assert erratum_of("- CVE-2024-12345", is_new=True).kind == "newpackage"


def test_references_are_named_once_with_an_address() -> None:
    found = erratum_of(
        "- CVE-2024-12345, CVE-2024-12345 (rhbz#2222222, bz 2222222, #1234567)\n- Resolves: RHEL-10 RHEL-9"
    )
    assert [(r.kind, r.id, r.href) for r in found.references] == [
        ("cve", "CVE-2024-12345", "https://www.cve.org/CVERecord?id=CVE-2024-12345"),
        ("bugzilla", "1234567", "https://bugzilla.redhat.com/show_bug.cgi?id=1234567"),
        ("bugzilla", "2222222", "https://bugzilla.redhat.com/show_bug.cgi?id=2222222"),
        ("other", "RHEL-9", "https://issues.redhat.com/browse/RHEL-9"),
        ("other", "RHEL-10", "https://issues.redhat.com/browse/RHEL-10"),
    ]
    assert found.title == "tiny-1.0-2: security update"
    assert found.description.startswith("2023-11-15, 1.0-2:\n- CVE-2024-12345")


def test_a_rebuild_without_an_entry_is_described_as_one() -> None:
    made = errata.erratum("KITTEN-2026:0001", "tiny", "1.0-2", (), [LIBS], ISSUED)
    assert (made.kind, made.description) == ("bugfix", "tiny 1.0-2 is built again.")


def test_a_kernel_asks_for_a_reboot_and_debuginfo_is_left_out() -> None:
    files = [
        PublishedFile(name=name, repository="r", path=name, unsigned_sha256="0" * 64, sha256="1" * 64, size=1)
        for name in ("kernel-core-6-1.x86_64.rpm", "kernel-debuginfo-6-1.x86_64.rpm", "kernel-6-1.src.rpm")
    ]
    (core,) = errata.updated_files(files, {"kernel-core": 2})
    assert (str(core.nevra), core.sha256, core.source, core.reboot_suggested) == (
        "kernel-core-2:6-1.x86_64", "1" * 64, "kernel-6-1.src.rpm", True,
    )  # fmt: skip
    assert not LIBS.reboot_suggested
    text = errata.to_xml(errata.erratum("K-1", "kernel", "6-1", (), [core], ISSUED))
    xml = ET.fromstring(text)  # noqa: S314 - our own
    assert xml.find(".//package/reboot_suggested").text == "True"  # type: ignore[union-attr]


@given(st.text(alphabet=st.characters(), max_size=300))
def test_no_changelog_breaks_the_xml_or_makes_markup(text: str) -> None:
    root = ET.fromstring(index.updateinfo([errata.to_xml(erratum_of(text))]))  # noqa: S314 - our own
    assert [child.tag for child in root] == ["update"]
    assert root.findtext("update/id") == "KITTEN-2026:0001"


def test_markup_and_control_characters_stay_text() -> None:
    made = erratum_of("- </description><id>evil</id> & ]]>\x00\x1b[31m\ud800")
    root = ET.fromstring(index.updateinfo([errata.to_xml(made)]))  # noqa: S314 - our own
    assert [node.text for node in root.iter("id")] == ["KITTEN-2026:0001"]
    assert root.findtext("update/description") == "2023-11-15, 1.0-2:\n- </description><id>evil</id> & ]]>\ufffd\ufffd"


def test_a_huge_changelog_is_cut_and_says_so() -> None:
    made = erratum_of("- CVE-2024-0001 " + "x" * 2_000_000 + "".join(f" RHEL-{n}" for n in range(10_000)))
    assert len(made.description) < errata.DESCRIPTION_CHARACTERS + 100
    assert made.description.endswith("… (cut; the package's changelog has the rest)")
    assert len(made.references) == errata.REFERENCES
    assert made.references[0].id == "CVE-2024-0001"


def test_a_time_beyond_all_calendars_is_a_day() -> None:
    entries = (Entry("A - 1-1", 2**62, "- late"), Entry("A - 1-1", -5, "- early"))
    made = errata.erratum("K-1", "tiny", "1-1", entries, [], ISSUED)
    assert made.description == "9999-12-31, 1-1:\n- late\n\n1970-01-01, 1-1:\n- early"


def test_equal_input_gives_equal_xml_in_utc() -> None:
    made = erratum_of("- Resolves: RHEL-1")
    assert errata.to_xml(made) == errata.to_xml(erratum_of("- Resolves: RHEL-1"))
    assert '<issued date="2026-11-25 08:30:00"/>' in errata.to_xml(made)


def test_dnf_lists_the_erratum_of_an_update(make_rpms: RpmFactory, tmp_path: Path) -> None:
    if shutil.which("dnf") is None:
        pytest.skip("dnf is not installed: apt-get install dnf")
    import createrepo_c

    repository, root = tmp_path / "repository", tmp_path / "root"
    repository.mkdir()
    old = next(p for p in make_rpms("x86_64", version="1") if p.name.startswith("tiny-libs-1"))
    new = next(p for p in make_rpms("x86_64", version="2") if p.name.startswith("tiny-libs-2"))
    shutil.copy(new, repository)
    package = index.describe(new, new.name)
    write_index(repository, [package], 1_700_000_000)
    nevra = Nevra(package.name, int(package.epoch), package.version, package.release, package.arch)
    entry = Entry("A <a@b> - 2-1.el10", 1_700_086_400, "- <Fix> CVE-2024-12345 & more")
    updated = Updated(nevra, package.pkgId, package.rpm_sourcerpm)
    made = errata.erratum("KITTEN-2026:0042", "tiny", "2-1.el10", [entry], [updated], ISSUED)
    data = repository / "repodata" / "updateinfo.xml"
    data.write_bytes(index.updateinfo([errata.to_xml(made)]))
    repomd = createrepo_c.Repomd(str(repository / "repodata" / "repomd.xml"))
    record = createrepo_c.RepomdRecord("updateinfo", str(data))
    record.fill(createrepo_c.SHA256)
    repomd.set_record(record)
    (repository / "repodata" / "repomd.xml").write_text(repomd.xml_dump())
    database = ["--define", "_dbpath /var/lib/rpm"]
    options = ["--root", root, "-i", "--nodeps", "--noscripts", "--ignorearch"]
    subprocess.run([*namespace.as_root(), "rpm", *database, *options, old], check=True)
    dnf = [
        *namespace.as_root(), "dnf", "-q", f"--installroot={root}", "--noplugins", "--forcearch=x86_64",
        "--releasever=10", f"--setopt=cachedir={tmp_path / 'cache'}", f"--setopt=reposdir={tmp_path}",
        f"--repofrompath=kitten,{repository}", "--nogpgcheck", "updateinfo",
    ]  # fmt: skip
    macros = tmp_path / ".rpmmacros"
    macros.write_text("%_dbpath /var/lib/rpm\n")
    environment = {"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run([*dnf, "list"], check=False, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["KITTEN-2026:0042", "Unknown/Sec.", "tiny-libs-2-1.el10.x86_64"], done.stderr
    done = subprocess.run([*dnf, "info"], check=False, capture_output=True, text=True, env=environment)
    assert "- <Fix> CVE-2024-12345 & more" in done.stdout
