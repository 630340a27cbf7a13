"""Staging: what the next builds of a target see."""

from __future__ import annotations

import hashlib
import json
import shutil
from multiprocessing import get_context
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion.kills import killed_at
from tests.workers.publishing import BuildFactory, artifact
from workers.base.errors import CannotRun
from workers.promotion import stage as module
from workers.promotion.stage import stage
from workers.repository import index


def staged(state: Path, target: str = "aarch64") -> dict[str, Path]:
    """NEVRA → file, from the index; every file has the checksum of the index."""
    repository = state / "staged" / target
    found = {}
    for package in index.load(repository):
        path = repository / package.location_href
        assert hashlib.sha256(path.read_bytes()).hexdigest() == package.pkgId
        found[package.nevra()] = path
    return found


def test_a_build_is_staged_without_its_debuginfo(site: Site, state: Path, make_build: BuildFactory) -> None:
    result = stage(site, state, "aarch64", str(make_build()))
    assert set(staged(state)) == {"tiny-libs-0:1-1.el10.aarch64", "tiny-doc-0:1-1.el10.noarch"}
    assert sorted(result.staged) == ["tiny-doc-1-1.el10.noarch.rpm", "tiny-libs-1-1.el10.aarch64.rpm"]
    assert (result.outcome, result.summary) == ("passed", "tiny-1-1.el10: 2 packages staged for aarch64")


def test_staging_again_changes_nothing(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    stage(site, state, "aarch64", str(build))
    repomd = state / "staged/aarch64/repodata/repomd.xml"
    before = repomd.stat()
    result = stage(site, state, "aarch64", str(build))
    assert result.summary.endswith("already staged for aarch64")
    assert (repomd.stat().st_ino, repomd.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_package_lost_by_hand_is_staged_again(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    stage(site, state, "aarch64", str(build))
    shutil.rmtree(next(iter(staged(state).values())).parent)
    stage(site, state, "aarch64", str(build))
    assert len(staged(state)) == 2


def test_a_newer_version_replaces_the_older_and_readers_of_the_old_index_go_on(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    stage(site, state, "aarch64", str(make_build()))
    old = staged(state)
    old_data = index.data_files(state / "staged/aarch64") - {"repomd.xml", "repomd.xml.asc"}
    stage(site, state, "aarch64", str(make_build(version="2")))
    assert set(staged(state)) == {"tiny-libs-0:2-1.el10.aarch64", "tiny-doc-0:2-1.el10.noarch"}
    assert all(path.is_file() for path in old.values())
    assert all((state / "staged/aarch64/repodata" / name).is_file() for name in old_data)


def test_a_rebuild_under_the_same_nevra_is_another_file(site: Site, state: Path, make_build: BuildFactory) -> None:
    stage(site, state, "aarch64", str(make_build()))
    old = staged(state)["tiny-libs-0:1-1.el10.aarch64"]
    stage(site, state, "aarch64", str(make_build(content="rebuilt")))
    new = staged(state)["tiny-libs-0:1-1.el10.aarch64"]
    assert old.is_file()
    assert old.read_bytes() != new.read_bytes()


def test_what_nobody_can_still_read_is_removed(
    site: Site, state: Path, make_build: BuildFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(site, state, "aarch64", str(make_build()))
    old = staged(state)
    stage(site, state, "aarch64", str(make_build(version="2")))
    monkeypatch.setattr(module, "READABLE", -1.0)
    stage(site, state, "aarch64", str(make_build(version="2")))
    repository = state / "staged/aarch64"
    assert not any(path.exists() for path in old.values())
    assert len(staged(state)) == len(list((repository / "packages").iterdir())) == 2
    assert {path.name for path in (repository / "repodata").iterdir()} == index.data_files(repository) - {
        "repomd.xml.asc"
    }


def test_an_index_without_a_catalogue_is_taken_over(site: Site, state: Path, make_build: BuildFactory) -> None:
    stage(site, state, "aarch64", str(make_build()))
    (state / "staged/aarch64/.catalogue.sqlite").unlink()
    assert stage(site, state, "aarch64", str(make_build())).summary.endswith("already staged for aarch64")
    stage(site, state, "aarch64", str(make_build(version="2")))
    assert set(staged(state)) == {"tiny-libs-0:2-1.el10.aarch64", "tiny-doc-0:2-1.el10.noarch"}


def test_an_older_version_is_staged_with_a_warning(
    site: Site, state: Path, make_build: BuildFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(site, state, "aarch64", str(make_build(version="2")))
    stage(site, state, "aarch64", str(make_build()))
    assert "tiny-libs-0:1-1.el10.aarch64 is older than the staged tiny-libs-2-1" in capsys.readouterr().err
    assert "tiny-libs-0:1-1.el10.aarch64" in staged(state)


def test_artifacts_are_not_changed_by_staging(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in build.iterdir()}
    stage(site, state, "aarch64", str(build))
    stage(site, state, "aarch64", str(make_build(version="2")))
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in build.iterdir()} == before


def alter(build: Path, **changes: object) -> str:
    """Change fields of a build.json."""
    file = build / "build.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return str(build)


def test_a_failed_build_is_not_staged(site: Site, state: Path, make_build: BuildFactory) -> None:
    result = stage(site, state, "aarch64", alter(make_build(), outcome="failed", cause="cc: error"))
    assert (result.outcome, result.cause) == ("failed", "tiny-1-1.el10: the build failed: cc: error")
    assert not staged(state)


def test_a_build_for_another_target_is_not_staged(site: Site, state: Path, make_build: BuildFactory) -> None:
    result = stage(site, state, "s390x", str(make_build()))
    assert (result.outcome, result.cause) == ("failed", "tiny-1-1.el10 was built for aarch64, not for s390x")


def test_a_package_of_a_foreign_architecture_is_refused(site: Site, state: Path, make_build: BuildFactory) -> None:
    with pytest.raises(CannotRun, match=r"tiny-libs-1-1.el10.s390x.rpm has architecture s390x"):
        stage(site, state, "aarch64", str(make_build(target="aarch64", arch="s390x")))
    assert not staged(state)


def test_a_changed_package_is_refused(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    rpm = next(build.glob("tiny-libs-1*.rpm"))
    content = bytearray(rpm.read_bytes())
    content[-1] ^= 1
    rpm.write_bytes(content)
    with pytest.raises(CannotRun, match=r"is not what build.json says"):
        stage(site, state, "aarch64", str(build))
    assert not staged(state)


def test_a_package_under_another_name_is_refused(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    file = next(build.glob("tiny-libs-1*.rpm")).rename(build / "glibc-9-9.aarch64.rpm")
    url = alter(build, rpms=[artifact(file).model_dump()])
    with pytest.raises(CannotRun, match=r"glibc-9-9.aarch64.rpm has another package: tiny-libs-1-1.el10.aarch64"):
        stage(site, state, "aarch64", url)


@pytest.mark.parametrize(
    "name", ["../../evil-1-1.aarch64.rpm", "/etc/passwd", "", "a\nb-1-1.noarch.rpm", "tiny.rpm/x.rpm"]
)
def test_a_file_name_that_is_a_path_is_refused(site: Site, state: Path, make_build: BuildFactory, name: str) -> None:
    url = alter(make_build(), rpms=[{"name": name, "url": "/etc/passwd", "sha256": "0" * 64, "size": 1}])
    with pytest.raises(CannotRun, match="is no package file"):
        stage(site, state, "aarch64", url)


def test_no_rpm_at_all_is_refused(site: Site, state: Path, make_build: BuildFactory) -> None:
    build = make_build()
    file = build / "tiny-libs-1-1.el10.aarch64.rpm"
    file.write_text("not a package")
    with pytest.raises(CannotRun, match="is not a readable RPM package"):
        stage(site, state, "aarch64", alter(build, rpms=[artifact(file).model_dump()]))


def test_no_build_is_one_line(site: Site, state: Path) -> None:
    with pytest.raises(CannotRun, match=r"there is no build at .*/nowhere: no build.json"):
        stage(site, state, "aarch64", "nowhere")


def test_an_unknown_target_is_one_line(site: Site, state: Path) -> None:
    with pytest.raises(CannotRun, match="unknown target 'vax'; there are: x86_64, "):
        stage(site, state, "vax", "nowhere")


def test_a_build_at_a_url_is_staged(site: Site, state: Path, make_build: BuildFactory) -> None:
    import fsspec

    build = make_build()
    memory = fsspec.filesystem("memory")
    memory.put(str(build), "/builds/one", recursive=True)
    stage(site, state, "aarch64", "memory://builds/one")
    assert len(staged(state)) == 2


def test_a_kill_at_any_step_leaves_the_old_or_the_new_and_the_next_call_ends_the_work(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    stage(site, state, "aarch64", str(make_build()))
    old, new_build = set(staged(state)), str(make_build(version="2"))
    start = state.with_name("start")
    shutil.copytree(state / "staged", start)
    outcomes = []
    for step in range(1, 1000):
        shutil.rmtree(state / "staged")
        shutil.copytree(start, state / "staged")
        killed = killed_at(step, lambda: stage(site, state, "aarch64", new_build))
        outcomes.append(set(staged(state)))
        assert outcomes[-1] == old or len(outcomes[-1]) == 2
        stage(site, state, "aarch64", new_build)
        assert set(staged(state)) == {"tiny-libs-0:2-1.el10.aarch64", "tiny-doc-0:2-1.el10.noarch"}
        assert len(list((state / "staged/aarch64/packages").iterdir())) == 4
        assert not (state / "staged/aarch64" / module.INCOMING).exists()
        if not killed:
            break
    assert len(outcomes) > 10
    assert outcomes[0] == old
    assert outcomes[-1] != old


def test_two_at_once_wait_for_each_other(site: Site, state: Path, make_build: BuildFactory) -> None:
    context = get_context("fork")
    builds = [str(make_build()), str(make_build(version="2"))] * 3
    workers = [context.Process(target=stage, args=(site, state, "aarch64", build)) for build in builds]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    versions = {nevra.split(":")[1].split("-")[0] for nevra in staged(state)}
    assert len(staged(state)) == 2
    assert len(versions) == 1


def test_a_try_build_is_not_staged(site: Site, state: Path, make_build: BuildFactory) -> None:
    folder = make_build()
    document = folder / "build.json"
    document.write_text(json.dumps(json.loads(document.read_text()) | {"trial": True}))
    result = stage(site, state, "aarch64", str(folder))
    assert result.outcome == "failed"
    assert "is a try build" in result.cause
    assert not (state / "staged" / "aarch64" / "repodata").exists()
