"""``kitten contents``: real repositories, made as publishing makes them, with and without required packages."""

from __future__ import annotations

import functools
import gzip
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import createrepo_c
import pytest
from click.testing import CliRunner, Result

from config.models import Site, Target
from tests.workers.publishing import write_index
from tests.workers.rpms import BuildRpm
from workers.base.errors import CannotRun, CheckFailed
from workers.repository import index
from workers.results import ContentsResult
from workers.verify import contents
from workers.verify.contents_cli import contents as command

REQUIRED = ("bzip2", "bzip2-libs", "zlib", "pigz")


def package(name: str, arch: str = "x86_64") -> createrepo_c.Package:
    """Return the metadata of a package, as an index has it."""
    made = createrepo_c.Package()
    made.name, made.arch, made.version, made.release, made.epoch = name, arch, "1", "1", "0"
    made.pkgId, made.checksum_type = "0" * 64, "sha256"
    made.location_href = f"Packages/{name}.rpm"
    return made


def repository(folder: Path, *names: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_index(folder, [package(name) for name in names], 0)
    return folder


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return a state folder with every required package."""
    root = tmp_path / "state/published/10-kitten"
    repository(root / "BaseOS/x86_64/os", *REQUIRED)
    repository(root / "AppStream/x86_64/os")
    repository(root / "CRB/x86_64/os", "zlib-tests")
    repository(root / "sandbox-base/x86_64/os", "sandbox-base")
    return tmp_path / "state"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments])


def test_everything_that_is_required_is_there(published: Path, tmp_path: Path) -> None:
    done = call("--target", "x86_64", "--state", published, "--json", tmp_path / "it.json")
    assert done.exception is None, done.output
    assert done.output.splitlines()[-1] == "x86_64: 4 required packages passed, 0 findings"
    result = ContentsResult.read((tmp_path / "it.json").read_text())
    assert (result.outcome, result.target) == ("passed", "x86_64")
    assert len(result.repositories) == 4
    assert [check.file for check in result.checks] == [f"BaseOS: {name}" for name in REQUIRED]
    assert {check.outcome for check in result.checks} == {"passed"}


def test_package_in_another_repository_is_reported_with_a_hint(published: Path, tmp_path: Path) -> None:
    root = published / "published/10-kitten"
    repository(root / "BaseOS/x86_64/os", "bzip2", "zlib", "pigz")
    repository(root / "CRB/x86_64/os", "bzip2-libs")
    done = call("--target", "x86_64", "--state", published, "--json", tmp_path / "it.json")
    assert isinstance(done.exception, CheckFailed)
    result = ContentsResult.read((tmp_path / "it.json").read_text())
    assert result.outcome == "failed"
    assert result.cause == (
        "BaseOS: bzip2-libs: required-package: bzip2-libs is in CRB, wanted in BaseOS: "
        "placement: {bzip2-libs: BaseOS} in packages/bzip2.yaml, then publish it again"
    )
    assert str(done.exception).startswith("x86_64: 3 required packages passed, 1 finding")


def test_package_that_no_repository_has(published: Path) -> None:
    repository(published / "published/10-kitten/BaseOS/x86_64/os", "bzip2", "bzip2-libs", "zlib", "pigz2")
    with pytest.raises(CheckFailed, match=r"no repository has pigz; is its name pigz2 now\?"):
        raise call("--target", "x86_64", "--state", published).exception or AssertionError
    repository(published / "published/10-kitten/BaseOS/x86_64/os", "bzip2", "bzip2-libs", "zlib")
    with pytest.raises(CheckFailed, match="no repository has pigz: kitten publish a build of pigz"):
        raise call("--target", "x86_64", "--state", published).exception or AssertionError


def test_source_package_is_not_what_users_install(tmp_path: Path) -> None:
    write_index(tmp_path, [package("zlib"), package("pigz", "src")], 0)
    held = contents.read_repository("BaseOS", str(tmp_path))
    assert held is not None
    assert held.packages == {"zlib"}


def test_nothing_published_yet(tmp_path: Path) -> None:
    done = call("--target", "aarch64", "--state", tmp_path, "--json", tmp_path / "it.json")
    assert isinstance(done.exception, CheckFailed)
    result = ContentsResult.read((tmp_path / "it.json").read_text())
    assert result.repositories == ()
    assert len(result.checks) == 4
    assert "no repository BaseOS at " in result.cause
    assert "/published/10-kitten/BaseOS/aarch64/os: nothing was published to it yet" in result.cause


def test_repositories_given_by_hand(published: Path, tmp_path: Path) -> None:
    base = published / "published/10-kitten/BaseOS/x86_64/os"
    assert call("--target", "x86_64", "--repository", base).exception is None
    shutil.copytree(base, tmp_path / "elsewhere")
    assert call("--target", "x86_64", "--repository", f"BaseOS={tmp_path / 'elsewhere'}").exception is None
    address = f"BaseOS=file://{tmp_path / 'elsewhere'}/"
    assert call("--target", "x86_64", "--repository", address).exception is None


def test_repository_that_requires_nothing_proves_nothing(published: Path) -> None:
    done = call("--target", "x86_64", "--repository", published / "published/10-kitten/CRB/x86_64/os")
    assert isinstance(done.exception, CheckFailed)
    assert "nothing was checked" in str(done.exception)
    assert done.output.count("INFO   required-package (skipped: repository-not-given)") == 4


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--repository", "/mirror/Extras/os"], "/mirror/Extras/os names no repository"),
        (["--repository", "Extras=/mirror/os"], "Extras=/mirror/os names no repository"),
        (["zlib.rpm"], "zlib.rpm: PATHs are for --hardware"),
        (["--hardware", "list.tsv"], "--hardware looks into PATHs"),
        (
            ["--repository", "BaseOS=nosuch://x"],
            "nosuch://x/repodata/repomd.xml cannot be read: Protocol not known: nosuch",
        ),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(arguments: list[str], what: str, tmp_path: Path) -> None:
    done = call("--target", "x86_64", "--json", tmp_path / "it.json", *arguments)
    assert isinstance(done.exception, CannotRun)
    assert done.exception.what.startswith(what)
    assert done.exception.hint
    assert json.loads((tmp_path / "it.json").read_text())["outcome"] == "cannot-run"


def primary_of(folder: Path) -> Path:
    return next((folder / "repodata").glob("*primary.xml*"))


def test_index_that_is_not_what_repomd_says(tmp_path: Path) -> None:
    folder = repository(tmp_path / "BaseOS", "zlib")
    primary = primary_of(folder)
    primary.write_bytes(primary.read_bytes() + b"x")
    with pytest.raises(CannotRun, match=r"is no complete repository: repodata/.* is not what repomd\.xml says"):
        contents.read_repository("BaseOS", str(folder))
    primary.unlink()
    with pytest.raises(CannotRun, match="is missing"):
        contents.read_repository("BaseOS", str(folder))


def forged(folder: Path, content: bytes, suffix: str = ".gz", href: str = "") -> Path:
    """Return a repository whose repomd.xml is correct, but whose index has this content."""
    import hashlib

    name = href or f"repodata/primary.xml{suffix}"
    (folder / "repodata").mkdir(parents=True)
    (folder / f"repodata/primary.xml{suffix}").write_bytes(content)
    (folder / "repodata/repomd.xml").write_text(
        '<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary">'
        f'<checksum type="sha256">{hashlib.sha256(content).hexdigest()}</checksum>'
        f'<location href="{name}"/></data></repomd>'
    )
    return folder


@pytest.mark.parametrize(
    # Without a time in the gzip header, because test names contain it and must be the same in all processes.
    "content",
    [b"", b"no gzip", gzip.compress(b"<metadata>", mtime=0)[:-4], gzip.compress(b"<metadata", mtime=0)],
)
def test_damaged_index(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CannotRun, match="is no complete repository") as caught:
        contents.read_repository("BaseOS", str(forged(tmp_path, content)))
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("href", ["/etc/passwd", "../../secret.xml", "repodata/../../x.xml"])
def test_index_outside_its_repository_is_not_followed(tmp_path: Path, href: str) -> None:
    with pytest.raises(CannotRun, match=r"repomd\.xml names no primary index inside the repository"):
        contents.read_repository("BaseOS", str(forged(tmp_path, b"", href=href)))


def test_index_that_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_MAX_PRIMARY", 1 << 20)
    with pytest.raises(CannotRun, match="unpacks to more than 1048576 bytes"):
        contents.read_repository("BaseOS", str(forged(tmp_path, gzip.compress(bytes(2 << 20)))))


@pytest.mark.parametrize("text", ["", "<repomd", "<?xml version='1.0'?><x/>"])
def test_damaged_repomd(tmp_path: Path, text: str) -> None:
    (tmp_path / "repodata").mkdir()
    (tmp_path / "repodata/repomd.xml").write_text(text)
    with pytest.raises(CannotRun, match="is no complete repository"):
        contents.read_repository("BaseOS", str(tmp_path))


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Return a folder and the address at which a web server serves it."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_repository_on_a_mirror(mirror: tuple[Path, str]) -> None:
    folder, address = mirror
    repository(folder / "BaseOS", *REQUIRED)
    held = contents.read_repository("BaseOS", f"{address}/BaseOS/")
    assert held is not None
    assert held.packages == set(REQUIRED)
    assert call("--target", "x86_64", "--repository", f"{address}/BaseOS").exception is None
    assert contents.read_repository("CRB", f"{address}/CRB") is None


def test_mirror_that_does_not_answer() -> None:
    with pytest.raises(CannotRun, match=r"^http://127\.0\.0\.1:1/repodata/repomd\.xml cannot be read: "):
        contents.read_repository("BaseOS", "http://127.0.0.1:1")


def test_site_that_requires_nothing_proves_nothing(site: Site, target: Target) -> None:
    bare = site.model_copy(update={"repositories": site.repositories.model_copy(update={"required": ()})})
    (check,) = contents.judge_required(bare, target, [], {})
    assert check.outcome == "failed"
    assert "nothing was checked" in check.detail


def test_real_package(build_rpm: BuildRpm, good_program: tuple[Path, Path], tmp_path: Path) -> None:
    program, _ = good_program
    rpm = next(p for p in build_rpm("zlib", [program]) if "debuginfo" not in p.name)
    write_index(tmp_path, [index.describe(rpm, rpm.name)], 0)
    held = contents.read_repository("BaseOS", str(tmp_path))
    assert held is not None
    assert held.packages == {"zlib"}


def test_help_has_examples() -> None:
    text = call("--help").output
    assert "kitten contents --target x86_64" in text
    assert "--hardware LIST" in text
