from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from config.loading import FOLDER, load_site
from config.models import Site
from workers.base.errors import CannotRun, CheckFailed
from workers.sources import demo

CONTENT = FOLDER / "demo" / "dist-git"


@pytest.fixture
def site() -> Site:
    return load_site("demo")


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """Return a copy of the demo's content with two packages, which a test may change."""
    folder = tmp_path / "content"
    for name in ("bzip2", "zlib"):
        shutil.copytree(CONTENT / name, folder / name)
    return folder


def git(repository: Path, *words: str) -> str:
    return subprocess.run(
        ["git", f"--git-dir={repository}", *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def ensure(site: Site, state: Path, content: Path) -> list[demo.Pushed]:
    return demo.ensure_demo_repositories(site, state, content, [package.name for package in site.packages])


def heads(pushed: list[demo.Pushed]) -> dict[str, str]:
    return {one.package: one.commit for one in pushed}


def test_each_package_gets_a_bare_repository_with_its_content(site: Site, content: Path, tmp_path: Path) -> None:
    pushed = ensure(site, tmp_path / "state", content)
    assert [one.package for one in pushed] == ["bzip2", "zlib"]
    repository = tmp_path / "state" / "dist-git" / "bzip2.git"
    assert git(repository, "rev-parse", "--is-bare-repository") == "true"
    assert git(repository, "symbolic-ref", "HEAD") == "refs/heads/c10s"
    assert git(repository, "ls-tree", "-r", "--format=%(objectmode) %(path)", "c10s").splitlines() == [
        "100644 .fmf/version",
        "100644 bzip2.spec",
        "100644 gating.yaml",
        "100644 plans/tier0.fmf",
        "100644 sources",
        "100644 tests/perf/compress.sh",
        "100644 tests/round-trip/main.fmf",
        "100755 tests/round-trip/test.sh",
        "100755 tests/smoke.sh",
    ]
    assert (
        git(repository, "log", "-1", "--format=%an <%ae> %ct", "c10s")
        == "kitten-ci demo <demo@localhost> 1748865600"  # 2025-06-02T12:00:00Z; git versions write it in different ways
    )


def test_the_same_content_makes_the_same_commits_everywhere(site: Site, content: Path, tmp_path: Path) -> None:
    here = ensure(site, tmp_path / "here", content)
    there = ensure(site, tmp_path / "there", content)
    assert heads(here) == heads(there)


def test_a_second_time_changes_nothing(site: Site, content: Path, tmp_path: Path) -> None:
    first = ensure(site, tmp_path, content)
    again = ensure(site, tmp_path, content)
    assert heads(again) == heads(first)
    assert not any(one.new for one in again)


def test_a_kill_before_the_import_is_recorded_ends_in_the_same_state(site: Site, content: Path, tmp_path: Path) -> None:
    ensure(site, tmp_path, content)
    repository = tmp_path / "dist-git" / "bzip2.git"
    git(repository, "update-ref", "-d", "refs/kitten/imported")
    head = git(repository, "rev-parse", "c10s")
    ensure(site, tmp_path, content)
    assert git(repository, "rev-parse", "c10s") == head


def test_changed_content_becomes_a_commit_on_top(site: Site, content: Path, tmp_path: Path) -> None:
    first = heads(ensure(site, tmp_path, content))
    (content / "zlib" / "README").write_text("new\n")
    pushed = {one.package: one for one in ensure(site, tmp_path, content)}
    assert pushed["zlib"].new
    assert not pushed["bzip2"].new
    assert git(pushed["zlib"].repository, "rev-parse", "c10s~1") == first["zlib"]


def test_a_pushed_commit_stays(site: Site, content: Path, tmp_path: Path) -> None:
    ensure(site, tmp_path, content)
    folder = tmp_path / "mine"
    shutil.copytree(content / "zlib", folder)
    (folder / "README").write_text("mine\n")
    pushed = demo.push(site, tmp_path, "zlib", folder, "mine")
    again = heads(ensure(site, tmp_path, content))
    assert again["zlib"] == pushed.commit
    (content / "zlib" / "NEWS").write_text("newer\n")
    newer = heads(ensure(site, tmp_path, content))
    assert git(pushed.repository, "rev-parse", f"{newer['zlib']}~1") == pushed.commit


def test_a_push_of_the_same_content_makes_no_commit(site: Site, content: Path, tmp_path: Path) -> None:
    first = heads(ensure(site, tmp_path, content))
    pushed = demo.push(site, tmp_path, "zlib", content / "zlib", "nothing new")
    assert (pushed.commit, pushed.new) == (first["zlib"], False)


def test_a_repository_takes_no_forced_push(site: Site, content: Path, tmp_path: Path) -> None:
    ensure(site, tmp_path, content)
    repository, clone = tmp_path / "dist-git" / "zlib.git", tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", repository, clone], check=True)
    identity = ["-c", "user.name=test", "-c", "user.email=test"]
    subprocess.run(["git", *identity, "commit", "-q", "--amend", "-m", "rewritten"], cwd=clone, check=True)
    forced = subprocess.run(["git", "push", "-q", "--force"], cwd=clone, capture_output=True, text=True, check=False)
    assert forced.returncode != 0
    assert "non-fast-forward" in forced.stderr


def test_mistakes_of_the_user(site: Site, content: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=r"the repository .*zlib\.git does not exist\n.*kitten dist-git init"):
        demo.push(site, tmp_path, "zlib", content / "zlib", "too early")
    ensure(site, tmp_path, content)
    with pytest.raises(CannotRun, match=r"the folder .* does not exist"):
        demo.push(site, tmp_path, "zlib", tmp_path / "none", "nothing")
    with pytest.raises(CheckFailed, match="one spec"):
        demo.push(site, tmp_path, "zlib", content, "no spec here")
    with pytest.raises(CannotRun, match="has no package of this site"):
        ensure(site, tmp_path, tmp_path / "none")
    elsewhere = site.model_copy(
        update={"sources": site.sources.model_copy(update={"dist_git": "https://git.example/rpms/{package}.git"})}
    )
    with pytest.raises(CannotRun, match=r"dist-git of this site is https://git\.example"):
        ensure(elsewhere, tmp_path, content)


def test_a_repository_can_exist_before_its_first_commit(site: Site, content: Path, tmp_path: Path) -> None:
    (tmp_path / "dist-git" / "zlib.partial").mkdir(parents=True)  # as after a killed process
    for _ in range(2):
        demo.ensure_empty_repositories(site, tmp_path, content, ["zlib"])
    repository = tmp_path / "dist-git" / "zlib.git"
    assert git(repository, "for-each-ref") == ""
    assert git(repository, "config", "receive.denyNonFastForwards") == "true"
    assert sorted(path.name for path in repository.parent.iterdir()) == ["zlib.git", "zlib.lock"]
    assert ensure(site, tmp_path, content)[1].new
