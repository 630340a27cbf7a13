"""Publishing: what users see before and after."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from config.models import Site
from tests.workers.promotion.user_view import seen, versions
from tests.workers.publishing import BuildFactory, RpmFactory
from workers.promotion.publish import publish
from workers.repository import index
from workers.repository.protocols import IndexedPackage
from workers.repository.state import published
from workers.results import Case, SuiteResult, TestResult


def test_a_build_is_published_where_it_belongs(site: Site, state: Path, make_build: BuildFactory) -> None:
    result = publish(site, state, "aarch64", str(make_build()))
    assert (result.outcome, result.unchanged, result.snapshot) == ("passed", False, 1)
    assert result.summary == "tiny-1-1.el10: 4 packages published on aarch64, snapshot 1"
    shown = seen(state)
    assert {repository: files for repository, files in shown.items() if files} == {
        "BaseOS/aarch64/os": {"tiny-libs-1-1.el10.aarch64.rpm"},
        "AppStream/aarch64/os": {"tiny-doc-1-1.el10.noarch.rpm"},
        "BaseOS/debug/aarch64": {"tiny-libs-debuginfo-1-1.el10.aarch64.rpm"},
        "BaseOS/Source": {"tiny-1-1.el10.src.rpm"},
    }
    assert {"sandbox-base/aarch64/os", "AppStream/debug/aarch64", "AppStream/Source"} <= set(shown), (
        "empty repositories are there too"
    )
    root = state / "published"
    assert (root / "10-kitten/BaseOS/aarch64/os/Packages/t/tiny-libs-1-1.el10.aarch64.rpm").is_file()
    assert "PUBLIC KEY" in (root / "RPM-GPG-KEY-demo").read_text()
    assert all(Path(package.url).stat().st_size == package.size for package in result.packages)


def test_what_was_flaky_in_its_tests_is_named_when_it_is_published(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    folder = make_build()
    test = TestResult.read((folder / "test.json").read_text())
    flaky = SuiteResult(
        suite="spice",
        outcome="passed",
        summary="",
        cases=(Case(name="agent", outcome="flaky"), Case(name="a", outcome="passed")),
    )
    test.model_copy(update={"suites": (*test.suites, flaky)}).write(folder / "test.json")
    for _ in ("published", "already there"):
        result = publish(site, state, "aarch64", str(folder))
        assert (result.outcome, result.flaky) == ("passed", ("spice: agent",))
        assert result.summary.endswith("; flaky in its tests: spice: agent")


def test_the_index_is_signed_with_the_exported_key(
    site: Site, state: Path, make_build: BuildFactory, tmp_path: Path
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    ring = tmp_path / "ring.gpg"
    key = state / "published/RPM-GPG-KEY-demo"
    subprocess.run(["gpg", "--batch", "--yes", "--dearmor", "--output", ring, key], check=True, capture_output=True)
    for signature in (state / "published/10-kitten").glob("**/repomd.xml.asc"):
        words = ["gpgv", "--keyring", ring, signature, signature.with_suffix("")]
        assert subprocess.run(words, check=False, capture_output=True).returncode == 0


def test_artifacts_are_not_changed_by_publishing(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    before = {path.name: path.read_bytes() for path in build.iterdir()}
    publish(site, state, "aarch64", str(build))
    assert {path.name: path.read_bytes() for path in build.iterdir()} == before


def test_publishing_again_changes_nothing(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    first = publish(site, state, "aarch64", str(build))
    again = publish(site, state, "aarch64", str(build))
    assert (again.outcome, again.unchanged, again.snapshot, again.packages) == ("passed", True, 1, first.packages)
    assert str((state / "published/.snapshots/current").readlink()) == "0001"


def test_a_newer_version_replaces_the_older_and_old_metadata_stays_readable(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    first = publish(site, state, "aarch64", str(make_build()))
    old_data = {p.relative_to(state) for p in (state / "published/10-kitten").glob("*/*/os/repodata/*.zst")}
    publish(site, state, "aarch64", str(make_build(version="2")))
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}
    assert all(Path(package.url).is_file() for package in first.packages)
    assert all((state / path).is_file() for path in old_data)


def test_targets_share_one_source_package(site: Site, state: Path, make_build: BuildFactory) -> None:
    one = publish(site, state, "aarch64", str(make_build()))
    other = publish(site, state, "x86_64_v2", str(make_build("x86_64_v2")))
    assert [p for p in one.packages if p.name.endswith("src.rpm")] == [
        p for p in other.packages if p.name.endswith("src.rpm")
    ]
    assert seen(state)["BaseOS/Source"] == {"tiny-1-1.el10.src.rpm"}
    publish(site, state, "aarch64", str(make_build(version="2")))
    assert seen(state)["BaseOS/Source"] == {"tiny-1-1.el10.src.rpm", "tiny-2-1.el10.src.rpm"}, "x86_64_v2 is still at 1"
    publish(site, state, "x86_64_v2", str(make_build("x86_64_v2", version="2")))
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10", "x86_64_v2": "tiny-2-1.el10"}
    assert seen(state)["BaseOS/Source"] == {"tiny-2-1.el10.src.rpm"}


def test_a_rebuild_of_the_same_commit_stays_unpublished_and_says_why(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    result = publish(site, state, "aarch64", str(make_build(content="rebuilt")))
    assert (result.outcome, result.unchanged, result.snapshot) == ("passed", True, 1)
    assert "is already published on aarch64 from build" in result.summary
    assert "of 4 packages differ in build" in result.summary


def test_an_unpublished_repository_stays_unpublished(site: Site, state: Path, make_build: BuildFactory) -> None:
    repositories = tuple(
        r.model_copy(update={"published": r.name != "AppStream"}) for r in site.repositories.repositories
    )
    site = site.model_copy(update={"repositories": site.repositories.model_copy(update={"repositories": repositories})})
    publish(site, state, "aarch64", str(make_build()))
    assert not any("AppStream" in repository for repository in seen(state))
    assert publish(site, state, "aarch64", str(make_build())).unchanged


def test_each_signed_package_is_read_once(
    site: Site, state: Path, make_build: BuildFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    describe, read = index.describe, []

    def counted(rpm: Path, href: str) -> IndexedPackage:
        read.append(rpm)
        return describe(rpm, href)

    monkeypatch.setattr(index, "describe", counted)
    result = publish(site, state, "aarch64", str(make_build(version="2")))
    signed = [rpm.name for rpm in read if pool_of(state) in rpm.parents and ".work" not in rpm.parts]
    assert sorted(signed) == sorted(package.name for package in result.packages)
    assert not [rpm for rpm in read if "-1-1." in rpm.name], "the catalogue has what users have"


def pool_of(state: Path) -> Path:
    return state / "published" / ".signed"


def test_an_erratum_has_the_new_entries_of_the_changelog(site: Site, state: Path, make_build: BuildFactory) -> None:
    first = "* Mon Nov 23 2026 A <a@example.org> - 1-1\n- The beginning"
    second = f"* Tue Nov 24 2026 A <a@example.org> - 2-1\n- Fix CVE-2026-12345\n\n{first}"
    publish(site, state, "aarch64", str(make_build(changelog=first)))
    publish(site, state, "aarch64", str(make_build(version="2", changelog=second)))
    (erratum,) = errata_of(state / "published/10-kitten/BaseOS/aarch64/os")
    assert (erratum.type, erratum.title) == ("security", "tiny-2-1.el10: security update")
    assert erratum.description == "2026-11-24, 2-1:\n- Fix CVE-2026-12345"


def errata_of(repository: Path) -> list[Any]:
    import createrepo_c

    (data,) = (name for name in index.data_files(repository) if "updateinfo" in name)
    return list(createrepo_c.UpdateInfo(str(repository / "repodata" / data)).updates)


def test_a_package_that_moves_to_another_repository_is_reported(
    site: Site, state: Path, make_build: BuildFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    assert "moves" not in capsys.readouterr().out
    (package,) = site.packages
    moved = package.model_copy(update={"placement": {"tiny-doc": "BaseOS"}})
    publish(site.model_copy(update={"packages": (moved,)}), state, "aarch64", str(make_build(version="2")))
    assert capsys.readouterr().out.startswith("tiny-doc moves from AppStream to BaseOS on aarch64 (")
    assert "tiny-doc-2-1.el10.noarch.rpm" in seen(state)["BaseOS/aarch64/os"]


def test_the_base_package_is_published_once_beside(
    site: Site, state: Path, make_build: BuildFactory, make_rpms: RpmFactory
) -> None:
    base = next(path for path in make_rpms("aarch64", version="9") if path.name.startswith("tiny-doc"))
    publish(site, state, "aarch64", str(make_build()), base_rpm=base)
    assert seen(state)["sandbox-base/aarch64/os"] == {"tiny-doc-9-1.el10.noarch.rpm"}
    assert publish(site, state, "aarch64", str(make_build()), base_rpm=base).unchanged
    newer = next(path for path in make_rpms("aarch64", version="10") if path.name.startswith("tiny-doc"))
    assert not publish(site, state, "aarch64", str(make_build()), base_rpm=newer).unchanged
    assert seen(state)["sandbox-base/aarch64/os"] == {"tiny-doc-10-1.el10.noarch.rpm"}


def test_records_show_where_a_package_came_from(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    publish(site, state, "aarch64", str(build))
    record = published(site, state)["tiny", "aarch64"]
    build_json = json.loads((build / "build.json").read_text())
    assert (record.nevr, record.commit, record.identity, record.build, record.snapshot) == (
        "tiny-1-1.el10",
        build_json["commit"],
        build_json["identity"],
        str(build),
        1,
    )
    assert record.unsigned == {a["name"]: a["sha256"] for a in [*build_json["rpms"], build_json["srpm"]]}
