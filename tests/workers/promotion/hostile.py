"""Files that a compromised worker may leave: packages of rpmbuild under any name, changed bytes in real ones."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from config.models import Site, SourcePackage
from tests.workers.promotion.user_view import seen
from tests.workers.publishing import artifact
from workers.base.errors import CannotRun
from workers.promotion.publish import POOL, publish
from workers.promotion.stage import stage
from workers.repository import index
from workers.results import BuildResult, Case, Check, SuiteResult, TestResult, VerifyResult

needs_rpmbuild = pytest.mark.skipif(
    shutil.which("rpmbuild") is None, reason="rpmbuild is not installed: apt-get install rpm"
)

NAME = "odd-1-1.el10.aarch64.rpm"
Refused = Callable[..., tuple[str, str]]

SPEC = """
Name: {name}
Version: {version}
Release: 1.el10
Summary: {name}
License: MIT
{head}
%description
A package of the tests.
%install
mkdir -p %{{buildroot}}/usr/share/{name}
echo {name} {version} > %{{buildroot}}/usr/share/{name}/file
%files
/usr/share/{name}/file
"""


def rpms_of(folder: Path, name: str, head: str = "", *, version: str = "1", arch: str = "aarch64") -> list[Path]:
    """A package of one file and its source package.

    :param head: further lines of the spec: Provides, Obsoletes …
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, version=version, head=head))
    places = {"_topdir": folder / "top", "_rpmdir": folder, "_srcrpmdir": folder, "_dbpath": folder, "_buildhost": "b"}
    defines = [word for key, value in places.items() for word in ("--define", f"{key} {value}")]
    subprocess.run(["rpmbuild", *defines, "-ba", "--target", f"{arch}-linux", spec], check=True, capture_output=True)
    return [*folder.glob("*/*.rpm"), *folder.glob("*.src.rpm")]


def result_folder(
    folder: Path, package: str, files: Sequence[Path], target: str = "aarch64", commit: str = "c"
) -> Path:
    """A build's folder with copies of packages from anywhere, and with proofs that passed."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).write_bytes(file.read_bytes())
    known = [artifact(folder / file.name) for file in files]
    rpms = tuple(one for one in known if not one.name.endswith(".src.rpm"))
    srpm = next((one for one in known if one.name.endswith(".src.rpm")), None)
    nevr = srpm.name.removesuffix(".src.rpm") if srpm else package
    identity = hashlib.sha256(repr([one.sha256 for one in known]).encode()).hexdigest()
    words = {"target": target, "package": package, "nevr": nevr, "commit": commit * 40, "identity": identity}
    BuildResult(summary="built", url=str(folder), srpm=srpm, rpms=rpms, **words).write(folder / "build.json")
    checks = (Check(rule="header", file=package, outcome="passed"),)
    VerifyResult(summary="proven", target=target, checked=rpms, checks=checks).write(folder / "verify.json")
    suite = SuiteResult(suite="packages", outcome="passed", summary="", cases=(Case(name="runs", outcome="passed"),))
    TestResult(summary="tested", target=target, checked=rpms, suites=(suite,)).write(folder / "test.json")
    return folder


def header_at(content: bytes) -> int:
    """Where a package's header begins: after its signature header."""
    entries, data = struct.unpack(">II", content[104:112])
    end = 112 + 16 * entries + data
    return int(end + -end % 8)


def payload_at(content: bytes) -> int:
    """Where its header ends."""
    start = header_at(content)
    entries, data = struct.unpack(">II", content[start + 8 : start + 16])
    return int(start + 16 + 16 * entries + data)


def edited(rpm: Path, old: bytes, new: bytes) -> Path:
    """Change bytes of a package's header in place: as many as there were."""
    assert len(old) == len(new)
    content = rpm.read_bytes()
    start, end = header_at(content), payload_at(content)
    assert old in content[start:end], f"{rpm.name} has no {old!r} in its header"
    header = content[start:end].replace(old, new)
    rpm.write_bytes(content[:start] + header + content[end:])
    return rpm


def claiming(rpm: Path, *, entries: int | None = None, data: int | None = None, signature: bool = False) -> Path:
    """Let a package's header claim another size."""
    content = bytearray(rpm.read_bytes())
    at = 96 if signature else header_at(bytes(content))
    there = struct.unpack(">II", content[at + 8 : at + 16])
    sizes = (there[0] if entries is None else entries, there[1] if data is None else data)
    content[at + 8 : at + 16] = struct.pack(">II", *sizes)
    rpm.write_bytes(content)
    return rpm


def with_signature_of(rpm: Path, other: Path) -> Path:
    """Put the signature header of another package before a package's own header and payload."""
    content, theirs = rpm.read_bytes(), other.read_bytes()
    rpm.write_bytes(theirs[: header_at(theirs)] + content[header_at(content) :])
    return rpm


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A package and its source package."""
    return rpms_of(tmp_path_factory.mktemp("good"), "odd")


@pytest.fixture
def odd(site: Site) -> Site:
    entry = SourcePackage(name="odd", binaries=("odd",), repository="BaseOS")
    return site.model_copy(update={"packages": (*site.packages, entry)})


@pytest.fixture
def rpm(good: list[Path], tmp_path: Path) -> Path:
    """The package, to be changed."""
    (tmp_path / "rpm").mkdir()
    return Path(shutil.copy(good[0], tmp_path / "rpm"))


@pytest.fixture
def refused(odd: Site, state: Path, tmp_path: Path, good: list[Path]) -> Refused:
    """(RPM) → the message and hint of both staging and publishing it. Nothing is staged, signed or published."""

    def refuse(rpm: Path | None, folder: Path | None = None) -> tuple[str, str]:
        if folder is None:
            assert rpm is not None
            folder = result_folder(tmp_path / "build", "odd", [rpm, good[1]])
        answers = set()
        for work in (stage, publish):
            with pytest.raises(CannotRun) as caught:
                work(odd, state, "aarch64", str(folder))
            assert "\n" not in caught.value.what
            assert caught.value.hint
            answers.add((caught.value.what, caught.value.hint))
        assert not index.load(state / "staged/aarch64")
        assert not list((state / "staged").glob("*/packages/*"))
        assert not seen(state)
        assert not list((state / "published" / POOL).rglob("*.rpm")), "and nothing was signed"
        (answer,) = answers
        return answer

    return refuse
