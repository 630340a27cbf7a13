from __future__ import annotations

import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workers.sources.conftest import SPEC, Place, Repository, Server, tarball, whole
from workers.artifacts.put import partial_folder
from workers.results import SourceResult

pytestmark = pytest.mark.sandbox


@dataclass
class Kitten:
    """``kitten source`` on the small site, in a separate process."""

    place: Place
    tmp_path: Path

    def command(self, *words: str, package: str = "hello") -> list[str]:
        site = ["--site", str(self.place.folder), "--state", str(self.place.state)]
        return [sys.executable, "-m", "workers.cli", "source", *site, "--package", package, *words]

    def __call__(self, *words: str, package: str = "hello") -> tuple[int, str, SourceResult]:
        document = self.tmp_path / "result.json"
        document.unlink(missing_ok=True)
        command = self.command("--json", str(document), *words, package=package)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr, SourceResult.read(document.read_text())

    def folders(self) -> list[str]:
        return sorted(path.name for path in (self.place.state / "artifacts" / "sources" / "hello").iterdir())


@pytest.fixture
def kitten(place: Place, tmp_path: Path, repository: Repository) -> Kitten:
    return Kitten(place, tmp_path)


def test_a_commit_becomes_a_source_package_with_its_tests(kitten: Kitten, repository: Repository) -> None:
    status, output, result = kitten()
    assert (status, result.outcome, result.nevr) == (0, "passed", "hello-1-1.el10"), output
    assert (result.branch, result.commit) == ("c10s", repository.git("rev-parse", "HEAD"))
    assert (result.build_requires, result.binaries, result.reused) == (("make",), ("hello",), False)
    assert result.srpm is not None
    assert result.tests is not None
    for artifact in (result.srpm, result.tests):
        content = Path(artifact.url).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (artifact.sha256, artifact.size)
    files = sorted(path.name for path in Path(result.srpm.url).parent.iterdir())
    assert files == ["hello-1-1.el10.src.rpm", "source.json", "tests.tar"]


def test_the_same_commit_gives_the_same_bytes(kitten: Kitten) -> None:
    _, _, first = kitten()
    kitten.place.state = kitten.tmp_path / "another"
    _, _, second = kitten()
    assert first.srpm is not None
    assert second.srpm is not None
    assert first.srpm.url != second.srpm.url
    assert first.tests is not None
    assert second.tests is not None
    assert (first.srpm.sha256, first.tests.sha256) == (second.srpm.sha256, second.tests.sha256)


def test_a_source_is_used_again_also_for_another_commit_with_the_same_content(
    kitten: Kitten, repository: Repository
) -> None:
    _, _, first = kitten()
    assert first.srpm is not None
    document = Path(first.srpm.url).with_name("source.json")
    os.utime(document, (1, 1))
    _, _, again = kitten()
    assert document.stat().st_mtime > 1, "kitten clean would remove it as unused"
    commit = repository.commit("same content")
    _, _, other = kitten()
    assert (again.reused, again.srpm) == (True, first.srpm)
    assert (other.reused, other.srpm, other.commit) == (True, first.srpm, commit)
    assert commit[:12] in other.summary


def test_an_error_in_the_spec_is_the_summary_and_nothing_is_stored(kitten: Kitten, repository: Repository) -> None:
    (repository.folder / "hello.spec").write_text(SPEC.replace("License:", "Lisence:"))
    repository.commit("broken")
    status, _, result = kitten()
    assert (status, result.outcome) == (1, "failed")
    assert result.summary == result.cause == "hello.spec:5: Unknown tag: Lisence:        0BSD"
    assert result.commit == repository.git("rev-parse", "HEAD")
    assert result.srpm is None
    assert not (kitten.place.state / "artifacts").exists()


def test_a_source_that_the_sources_file_lacks_is_reported(kitten: Kitten, repository: Repository) -> None:
    (repository.folder / "sources").write_text("")
    repository.commit()
    status, _, result = kitten()
    assert status == 1
    assert result.summary.startswith("hello.spec: Bad")
    assert "hello-1.tar: No such file" in result.summary


def test_a_package_that_the_configuration_lacks_is_refused_also_for_a_stored_source(kitten: Kitten) -> None:
    assert kitten()[0] == 0
    (kitten.place.folder / "packages" / "hello.yaml").write_text("name: hello\nbinaries: [hello-world]\n")
    status, _, result = kitten()
    assert status == 1
    assert result.summary.startswith(f"hello.spec makes hello, not listed in {kitten.place.folder}/packages/hello.yaml")


def test_the_spec_of_another_package_is_refused(kitten: Kitten, repository: Repository) -> None:
    (repository.folder / "hello.spec").write_text(SPEC.replace("Name:           hello", "Name:           hallo"))
    (repository.folder / "sources").write_text("")
    (repository.folder / "hello-1.tar").write_bytes(tarball())
    repository.commit()
    status, _, result = kitten()
    assert (status, result.summary) == (1, "hello.spec names its package hallo; the repository is hello's")


def test_a_patch_makes_another_source_with_its_checksum(kitten: Kitten, repository: Repository) -> None:
    _, _, plain = kitten()
    spec = repository.folder / "hello.spec"
    spec.write_text(SPEC.replace("Release:        1", "Release:        2"))
    patch = kitten.tmp_path / "change.patch"
    patch.write_text(repository.git("diff") + "\n")
    status, output, result = kitten("--patch", str(patch))
    assert (status, result.nevr) == (0, "hello-1-2.el10"), output
    assert result.patch == hashlib.sha256(patch.read_bytes()).hexdigest()
    assert result.commit == plain.commit
    assert plain.patch == ""
    assert kitten.folders() == [Path(plain.srpm.url).parent.name], "the source of a try build is stored apart"
    assert Path(result.srpm.url).parent.parent == kitten.place.state / "artifacts" / "try" / "sources" / "hello"

    patch.write_text("--- a/hello.spec\n+++ b/hello.spec\n@@ -1,1 +1,1 @@\n-no\n+yes\n")
    status, _, result = kitten("--patch", str(patch))
    assert (status, result.outcome) == (1, "failed")
    assert result.summary.startswith("the patch change.patch does not apply")


@pytest.mark.parametrize(
    ("words", "package", "message"),
    [
        ((), "hullo", "unknown package 'hullo'"),
        (("--branch", "c99s"), "hello", "has no branch c99s"),
        (("--revision", "0123456789abcdef"), "hello", "has no commit 0123456789abcdef"),
        (("--repository", "/nowhere/at.git"), "hello", "cannot read the dist-git repository /nowhere/at.git"),
        (("--repository", "ext::touch /tmp/x"), "hello", "not the address of a dist-git repository"),
        (("--patch", "/nowhere/a.patch"), "hello", "the patch /nowhere/a.patch does not exist"),
    ],
)
def test_mistakes_of_the_caller_get_a_line_and_exit_2(
    kitten: Kitten, words: tuple[str, ...], package: str, message: str
) -> None:
    status, output, result = kitten(*words, package=package)
    assert (status, result.outcome) == (2, "cannot-run")
    assert message in output
    assert message in result.summary


def test_sources_that_name_a_file_of_dist_git_are_refused(kitten: Kitten, repository: Repository) -> None:
    (repository.folder / "sources").write_text(f"SHA512 (hello.spec) = {'0' * 128}\n")
    repository.commit()
    status, _, result = kitten()
    assert (status, result.summary) == (1, "sources names hello.spec, which is in dist-git too: remove one of them")


def test_two_at_once_end_with_one_source(kitten: Kitten, server: Server) -> None:
    server.answer = whole(tarball())
    kitten.place.lookaside = [{"kind": "http", "location": f"{server.url}/{{file}}"}]
    kitten.place.load()
    both = [subprocess.Popen(kitten.command(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    first, second = (output.splitlines()[-1].removesuffix(" (reused)") for output in outputs)
    assert first == second
    assert sum("(reused)" in output for output in outputs) == 1
    assert len(kitten.folders()) == 1
    assert len(server.asked) == 1


def test_a_kill_during_the_fetch_does_not_disturb_the_next_run(kitten: Kitten, server: Server, own_cache: Path) -> None:
    stalled = threading.Event()

    def stall(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(tarball())))
        handler.end_headers()
        handler.wfile.write(tarball()[:512])
        stalled.set()
        threading.Event().wait(60)

    server.answer = stall
    kitten.place.lookaside = [{"kind": "http", "location": f"{server.url}/{{file}}"}]
    kitten.place.load()
    with subprocess.Popen(kitten.command(), stdout=subprocess.DEVNULL, start_new_session=True) as process:
        assert stalled.wait(60)
        os.kill(process.pid, signal.SIGKILL)
    server.answer = whole(tarball())
    status, output, result = kitten()
    assert (status, result.reused) == (0, False), output
    assert len(kitten.folders()) == 1
    assert [path.name for path in (own_cache / "scratch").iterdir()] == ["sweep"], "only the lock of the clean-up"


def test_files_of_a_process_killed_while_it_wrote_are_removed(kitten: Kitten) -> None:
    _, _, first = kitten()
    assert first.srpm is not None
    folder = Path(first.srpm.url).parent
    left = partial_folder(str(folder))
    left.rmdir()
    folder.rename(left)  # its state just before the rename
    (left / "source.json").unlink()
    status, _, again = kitten()
    assert (status, again.reused, again.srpm) == (0, False, first.srpm)
    assert kitten.folders() == [folder.name]
