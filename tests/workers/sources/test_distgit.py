from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.workers.sources.conftest import Repository
from workers.base.errors import CannotRun, CheckFailed
from workers.sources import distgit


def find(repository: Repository, *branches: str, revision: str | None = None) -> distgit.Commit:
    return distgit.find(str(repository.path), branches or ("a10s", "c10s"), revision)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_the_newest_commit_of_the_first_existing_branch_is_found(repository: Repository, out: Path) -> None:
    commit = find(repository)
    assert (commit.branch, commit.commit) == ("c10s", repository.git("rev-parse", "HEAD"))
    modified = repository.commit("modified", branch="a10s")
    assert (find(repository).branch, find(repository).commit) == ("a10s", modified)
    distgit.export(find(repository), out)
    assert sorted(path.name for path in out.iterdir()) == ["hello.spec", "sources", "tests"]


def test_a_revision_in_the_mirror_needs_no_second_fetch(repository: Repository) -> None:
    first = find(repository).commit
    repository.commit("second")
    repository.path.rename(repository.path.with_suffix(".away"))
    assert find(repository, revision=first).commit == first
    assert find(repository, revision=first[:10]).commit == first


def test_a_commit_pushed_later_is_found(repository: Repository) -> None:
    find(repository)
    second = repository.commit("second")
    assert find(repository).commit == second
    assert find(repository, revision=second).commit == second


@pytest.mark.parametrize(
    ("branches", "revision", "message"),
    [
        (("nothing",), None, "has no branch nothing\n.*it has: c10s"),
        (("c10s",), "0123456789", "has no commit 0123456789"),
        (("--upload-pack=touch /tmp/x",), None, "not the name of a branch"),
        (("c10s..",), None, "not the name of a branch"),
        (("c10s",), "--help", "not the name of a commit"),
        (("c10s",), "HEAD~1", "not the name of a commit"),
    ],
)
def test_an_unknown_or_impossible_name_gets_one_clear_line(
    repository: Repository, branches: tuple[str, ...], revision: str | None, message: str
) -> None:
    with pytest.raises(CannotRun, match=message):
        find(repository, *branches, revision=revision)


def test_a_commit_of_another_branch_is_refused(repository: Repository) -> None:
    other = repository.commit("elsewhere", branch="private")
    repository.git("update-ref", "refs/heads/c10s", f"{other}~1")
    with pytest.raises(CannotRun, match=r"branch c10s .* has no commit"):
        find(repository, "c10s", revision=other)


def test_an_unknown_repository_is_named_with_gits_reason(tmp_path: Path) -> None:
    with pytest.raises(
        CannotRun, match=r"cannot read the dist-git repository .*/none\.git: .*does not appear to be a git"
    ):
        distgit.find(str(tmp_path / "none.git"), ("c10s",))


@pytest.mark.parametrize(
    "url", ["ext::sh -c touch% /tmp/x", "ext::true", "fd::17", "-u", "", "ftp://host/x.git", "a\nb"]
)
def test_addresses_that_could_run_programs_are_refused(url: str) -> None:
    with pytest.raises(CannotRun, match="not the address of a dist-git repository"):
        distgit.find(url, ("c10s",))


def test_hooks_and_configuration_of_the_user_do_not_run(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-merge"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        (hooks / name).chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path))
    (tmp_path / ".gitconfig").write_text(f"[core]\n hooksPath = {hooks}\n[alias]\n fetch = !false\n")
    find(repository)
    assert not (tmp_path / "ran").exists()


def test_the_export_is_the_bytes_of_the_commit_whatever_attributes_say(repository: Repository, out: Path) -> None:
    (repository.folder / ".gitattributes").write_text(
        "hidden export-ignore\n*.txt text eol=crlf ident\n*.sub export-subst\n"
    )
    (repository.folder / "hidden").write_text("still here")
    (repository.folder / "a.txt").write_bytes(b"$Id$\n")
    (repository.folder / "b.sub").write_bytes(b"$Format:%H$\n")
    (repository.folder / "run.sh").write_text("#!/bin/sh\n")
    (repository.folder / "run.sh").chmod(0o755)
    repository.commit()
    distgit.export(find(repository), out)
    assert (out / "hidden").read_text() == "still here"
    assert (out / "a.txt").read_bytes() == b"$Id$\n"
    assert (out / "b.sub").read_bytes() == b"$Format:%H$\n"
    assert os.access(out / "run.sh", os.X_OK)
    assert not os.access(out / "a.txt", os.X_OK)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "tests/../../outside", "loop/../../outside"])
def test_a_link_out_of_the_repository_is_refused(repository: Repository, out: Path, target: str) -> None:
    (repository.folder / "link").symlink_to(target)
    repository.commit()
    with pytest.raises(CheckFailed, match="link is a symbolic link out of the repository"):
        distgit.export(find(repository), out)


def test_links_that_lead_out_only_together_are_refused(repository: Repository, out: Path) -> None:
    (repository.folder / "deep" / "er").mkdir(parents=True)
    (repository.folder / "deep" / "up").symlink_to("er/../..")
    (repository.folder / "away").symlink_to("deep/up/../outside")
    repository.commit()
    with pytest.raises(CheckFailed, match="symbolic link out of the repository"):
        distgit.export(find(repository), out)


def test_a_link_within_the_repository_stays_a_link(repository: Repository, out: Path) -> None:
    (repository.folder / "tests" / "again.sh").symlink_to("smoke.sh")
    repository.commit()
    distgit.export(find(repository), out)
    assert (out / "tests" / "again.sh").readlink() == Path("smoke.sh")


def test_a_submodule_is_ignored_with_a_message(
    repository: Repository, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},module")
    repository.git("commit", "-m", "module")
    distgit.export(find(repository), out)
    assert not (out / "module").exists()
    assert "module: a submodule, ignored" in capsys.readouterr().out


def test_a_tree_with_names_that_lead_out_never_gets_in(repository: Repository) -> None:
    """git's check of incoming objects refuses it at the fetch."""
    blob = repository.git("rev-parse", "HEAD:hello.spec")
    entry = b"100644 ..\0" + bytes.fromhex(blob)
    tree = _raw_object(repository, "tree", entry)
    commit = repository.git("commit-tree", tree, "-m", "evil")
    repository.git("update-ref", "refs/heads/c10s", commit)
    with pytest.raises(CannotRun, match="cannot read the dist-git repository"):
        find(repository)


def _raw_object(repository: Repository, kind: str, content: bytes) -> str:
    command = ["git", f"--git-dir={repository.path}", "hash-object", "-t", kind, "-w", "--literally", "--stdin"]
    return subprocess.run(command, input=content, check=True, capture_output=True).stdout.decode().strip()


def test_a_commit_with_tarballs_is_refused(repository: Repository, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distgit, "LARGEST", 100)
    with pytest.raises(CheckFailed, match="move its tarballs into the lookaside"):
        distgit.export(find(repository), out)


def test_a_patch_is_applied(repository: Repository, out: Path, tmp_path: Path) -> None:
    distgit.export(find(repository), out)
    (repository.folder / "new.patch").write_text("a new file\n")
    spec = repository.folder / "hello.spec"
    spec.write_text(spec.read_text().replace("Release:        1", "Release:        2"))
    repository.git("add", "--all")
    patch = tmp_path / "change.patch"
    patch.write_text(repository.git("diff", "--cached") + "\n")
    distgit.apply_patch(patch, out)
    assert (out / "hello.spec").read_text() == spec.read_text()
    assert (out / "new.patch").read_text() == "a new file\n"


EVIL = "diff --git a/{0} b/{0}\nnew file mode 100644\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+evil\n"


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            "--- a/hello.spec\n+++ b/hello.spec\n@@ -1,1 +1,1 @@\n-Name: other\n+Name: evil\n",
            "patch failed: hello.spec:1",
        ),
        ("not a patch\n", "No valid patches"),
        (EVIL.format("../outside"), "invalid path"),
        (EVIL.format(".git/config"), "invalid path"),
    ],
)
def test_a_patch_that_does_not_apply_or_leads_out_is_refused(
    repository: Repository, out: Path, tmp_path: Path, patch: str, message: str
) -> None:
    distgit.export(find(repository), out)
    file = tmp_path / "change.patch"
    file.write_text(patch)
    with pytest.raises(CheckFailed, match=rf"the patch change\.patch does not apply: .*{message}"):
        distgit.apply_patch(file, out)
    assert not (tmp_path / "outside").exists()


LINK = "diff --git a/{0} b/{0}\nnew file mode 120000\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+{1}\n"
NO_NEWLINE = "\\ No newline at end of file\n"


@pytest.mark.parametrize(("name", "target"), [("fix.patch", "/etc/passwd"), ("tests/up", "../../secret")])
def test_a_patch_that_makes_a_link_out_of_the_repository_is_refused(
    repository: Repository, out: Path, tmp_path: Path, name: str, target: str
) -> None:
    distgit.export(find(repository), out)
    file = tmp_path / "change.patch"
    file.write_text(LINK.format(name, target) + NO_NEWLINE)
    with pytest.raises(CheckFailed, match=f"{name} is a symbolic link out of the repository"):
        distgit.apply_patch(file, out)


def test_a_patch_may_make_a_link_within_the_repository(repository: Repository, out: Path, tmp_path: Path) -> None:
    distgit.export(find(repository), out)
    file = tmp_path / "change.patch"
    links = {"tests/again.sh": "smoke.sh", "loop": "loop"}
    file.write_text("".join(LINK.format(name, target) + NO_NEWLINE for name, target in links.items()))
    distgit.apply_patch(file, out)
    assert {name: str((out / name).readlink()) for name in links} == links


def test_a_missing_patch_is_reported(out: Path) -> None:
    with pytest.raises(CannotRun, match=r"the patch .* does not exist"):
        distgit.apply_patch(out / "none.patch", out)
