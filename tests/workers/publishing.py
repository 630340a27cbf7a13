"""Real packages without compiled code, built once per session by the host's rpmbuild, and builds of them."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
import yaml

from config.loading import load_site
from config.models import Site
from workers.mirrors import remote
from workers.repository import draft, index
from workers.repository.catalogue import Catalogue
from workers.repository.protocols import IndexedPackage
from workers.repository.records import PublishedFile
from workers.results import Artifact, BuildResult, Case, Check, SuiteResult, TestResult, VerifyResult
from workers.signing.agent import agent, gpg, short_home

CONFIG = Path(__file__).parents[2] / "config"

SPEC = """
Name: tiny
Version: {version}
Release: {release}
Epoch: {epoch}
Summary: {summary}
License: MIT
%description
A package without compiled code.
%package libs
Summary: A part of its architecture
%description libs
It is of the target's architecture.
%package doc
Summary: A part of no architecture
BuildArch: noarch
Requires: tiny-libs = %{{epoch}}:%{{version}}-%{{release}}
%description doc
It is of no architecture.
%package libs-debuginfo
Summary: Stands for debuginfo
%description libs-debuginfo
It is of the target's architecture.
%install
mkdir -p %{{buildroot}}/usr/share/tiny
echo {content} > %{{buildroot}}/usr/share/tiny/libs
echo doc > %{{buildroot}}/usr/share/tiny/doc
echo debug > %{{buildroot}}/usr/share/tiny/debug
%files libs
/usr/share/tiny/libs
%files doc
/usr/share/tiny/doc
%files libs-debuginfo
/usr/share/tiny/debug
%changelog
{changelog}
"""

# rpm 4.18 knows no microarchitecture levels; later ones do.
RPMRC = """
arch_canon: x86_64_v2: x86_64_v2 1
buildarchtranslate: x86_64_v2: x86_64_v2
arch_compat: x86_64_v2: x86_64 noarch
buildarch_compat: x86_64_v2: noarch
"""

OF_ONE_BUILD = (
    "built",
    "verified",
    "tested",
    "placement",
    "no-downgrade",
    "no-replaced-file",
    "one-source",
    "provides",
)

RpmFactory = Callable[..., tuple[Path, ...]]
BuildFactory = Callable[..., Path]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish without pauses; in production, an index stays for a while for its readers."""
    monkeypatch.setattr(draft, "STEADY", 0.0)
    monkeypatch.setattr(remote, "STEADY", 0.0)


@pytest.fixture(scope="session")
def make_rpms(tmp_path_factory: pytest.TempPathFactory) -> RpmFactory:
    """A function (arch, version …) → RPMs and SRPM. Each combination is built once, with one SRPM for every arch."""
    return _rpm_factory(tmp_path_factory.getbasetemp() / "rpmbuild")


@functools.cache  # once in a session, for all folders of tests
def _rpm_factory(top: Path) -> RpmFactory:
    if shutil.which("rpmbuild") is None:
        pytest.skip("rpmbuild is not installed: apt-get install rpm")
    top.mkdir()
    (top / "rpmrc").write_text(RPMRC)
    made: dict[tuple[str, ...], tuple[Path, ...]] = {}

    def rpmbuild(folder: Path, *words: str) -> None:
        places = {
            "_topdir": top / "top",
            "_rpmdir": folder,
            "_srcrpmdir": folder,
            "_buildhost": "builder",
            "_dbpath": top,
        }
        defines = [word for name, value in places.items() for word in ("--define", f"{name} {value}")]
        rpmrc = f"/usr/lib/rpm/rpmrc:{top / 'rpmrc'}"
        subprocess.run(["rpmbuild", "--rcfile", rpmrc, *defines, *words], check=True, capture_output=True)

    def make(
        arch: str,
        version: str = "1",
        release: str = "1.el10",
        content: str = "libs",
        epoch: str = "0",
        source: str = "tiny",
        changelog: str = "",
    ) -> tuple[Path, ...]:
        source_key = (version, release, epoch, source, changelog)
        if (key := (arch, content, *source_key)) not in made:
            tags = {"version": version, "release": release, "epoch": epoch, "changelog": changelog}
            text = SPEC.format(**tags, content=content, summary=source)
            folder = top / hashlib.sha256(repr(key).encode()).hexdigest()[:12]
            folder.mkdir()
            spec = folder / "tiny.spec"
            spec.write_text(text)
            rpmbuild(folder, "-bb", "--target", f"{arch}-linux", str(spec))
            if ("src", *source_key) not in made:
                sources = folder / "source"
                sources.mkdir()
                rpmbuild(sources, "-bs", str(spec))
                made["src", *source_key] = tuple(sources.glob("*.src.rpm"))
            made[key] = (*sorted(folder.glob("*/*.rpm")), *made["src", *source_key])
            made[key] = tuple(
                path for path in made[key] if "source" not in path.parts[-2:-1] or path.name.endswith("src.rpm")
            )
        return tuple(dict.fromkeys(made[key]))

    return make


@pytest.fixture(scope="session")
def site_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's folder with one package, tiny, and one signed stage; each of its rules checks one build alone."""
    folder = tmp_path_factory.mktemp("config")
    shutil.copytree(CONFIG / "kitten-10", folder / "kitten-10")
    shutil.copytree(CONFIG / "demo", folder / "demo")
    with_tiny_alone(folder / "demo")
    stages = folder / "demo" / "stages.yaml"
    first, _, last = yaml.safe_load(stages.read_text())
    last["gate"] = [rule for rule in last["gate"] if rule["rule"] in OF_ONE_BUILD]
    stages.write_text(yaml.safe_dump([first, {**last, "roles": ["signing", "users"]}]))
    return folder / "demo"


def with_tiny_alone(folder: Path, **more: object) -> None:
    """Make tiny the only package of a copy of the demo.

    :param more: further keys of its file.
    """
    for file in (folder / "packages").iterdir():
        file.unlink()
    (folder / "groups.yaml").unlink()  # it names the demo's packages
    repositories = folder / "repositories.yaml"
    entries = yaml.safe_load(repositories.read_text())
    entries.pop("rules", None)
    entries["repositories"] = [{"name": name} for name in ("BaseOS", "AppStream", "sandbox-base")]
    repositories.write_text(yaml.safe_dump(entries))
    entry = {"name": "tiny", "binaries": ["tiny-libs", "tiny-doc"], "placement": {"tiny-doc": "AppStream"}, **more}
    (folder / "packages" / "tiny.yaml").write_text(yaml.safe_dump(entry))


@pytest.fixture(scope="session")
def staged_path(site_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the demo's stages: builds are published to testing, then promoted to kitten."""
    folder = tmp_path_factory.mktemp("staged")
    shutil.copytree(site_path.parent, folder / "config")
    shutil.copy(CONFIG / "demo" / "stages.yaml", folder / "config" / "demo")
    return folder / "config" / "demo"


@pytest.fixture(scope="session")
def staged(staged_path: Path) -> Site:
    return load_site(str(staged_path))


@pytest.fixture(scope="session")
def site(site_path: Path) -> Site:
    return load_site(str(site_path))


@pytest.fixture(scope="session")
def key_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signing key, smaller than the distribution's: it signs in a sixth of the time."""
    return _key_home(tmp_path_factory.getbasetemp() / "key" / "gnupg")


@functools.cache
def _key_home(home: Path) -> Path:
    home.parent.mkdir()
    home.mkdir(mode=0o700)
    with short_home(home) as near, agent(near):
        gpg(near, "--passphrase", "", "--quick-generate-key", "Tests", "rsa2048", "sign", "never")
    return home


@pytest.fixture
def state(tmp_path: Path, key_home: Path) -> Path:
    folder = tmp_path / "state"
    (folder / "secrets").mkdir(parents=True)
    # Without the sockets of an agent that has ended: on a busy machine, it may not have removed them yet.
    shutil.copytree(key_home, folder / "secrets" / "gnupg", ignore=shutil.ignore_patterns("S.*"))
    return folder


def write_index(repository: Path, packages: Sequence[IndexedPackage], now: int) -> Path:
    """Write an index of described packages into a repository folder; return its repomd.xml."""
    repodata = repository / "repodata"
    repodata.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Catalogue.open(Path(folder, "catalogue")) as catalogue:
        with catalogue.transaction():
            for package in packages:
                catalogue.add(1, index.catalogue_entry("", package))
            catalogue.compress(1)
        content = index.write(repodata, catalogue, "", 1, now)
    repomd = repodata / "repomd.xml"
    repomd.unlink(missing_ok=True)  # not overwritten, because a snapshot may have a hard link to it
    repomd.write_bytes(content)
    return repomd


def headers(tree: Path, files: Iterable[PublishedFile]) -> dict[str, IndexedPackage]:
    """Return the headers of published files below a distribution's root, by file name."""
    return {file.name: index.describe(tree / file.repository / file.path, file.path) for file in files}


def artifact(path: Path) -> Artifact:
    content = path.read_bytes()
    return Artifact(name=path.name, url=str(path), sha256=hashlib.sha256(content).hexdigest(), size=len(content))


@pytest.fixture
def make_build(tmp_path: Path, make_rpms: RpmFactory) -> BuildFactory:
    """A function (target, arch, version …) → the folder of a passed build, with its proofs."""

    def make(target: str = "aarch64", arch: str = "", commit: str = "c" * 40, **kind: str) -> Path:
        files = make_rpms(arch or target, **kind)
        identity = hashlib.sha256(repr((target, files, commit)).encode()).hexdigest()
        folder = tmp_path / "state" / "artifacts" / "builds" / target / identity
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, folder)
        rpms = tuple(artifact(folder / file.name) for file in files if not file.name.endswith(".src.rpm"))
        (srpm,) = (artifact(folder / file.name) for file in files if file.name.endswith(".src.rpm"))
        nevr = srpm.name.removesuffix(".src.rpm")
        BuildResult(
            summary="built",
            target=target,
            package="tiny",
            nevr=nevr,
            commit=commit,
            identity=identity,
            url=str(folder),
            srpm=srpm,
            rpms=rpms,
        ).write(folder / "build.json")
        checks = (Check(rule="header", file=rpms[0].name, outcome="passed"),)
        VerifyResult(summary="proven", target=target, checked=rpms, checks=checks).write(folder / "verify.json")
        suite = SuiteResult(
            suite="packages", outcome="passed", summary="", cases=(Case(name="runs", outcome="passed"),)
        )
        TestResult(summary="tested", target=target, checked=rpms, suites=(suite,)).write(folder / "test.json")
        return folder

    return make
