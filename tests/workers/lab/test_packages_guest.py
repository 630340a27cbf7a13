"""The packages suite in root guests: a correct package with all features, and one that breaks each rule."""

from __future__ import annotations

import base64
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from config.loading import load_site
from config.models import GateRule, Site, SourcePackage
from tests.workers.lab import helpers
from workers.artifacts.subject import artifact
from workers.base.run import run
from workers.lab import lifecycle
from workers.lab.suites import Request, packages
from workers.promotion.publish import publish
from workers.promotion.stage import stage
from workers.results import BuildResult, Case

pytestmark = pytest.mark.guest

DEMO = load_site("demo")
TARGET = DEMO.target("aarch64")  # the quickest to boot under emulation
GCC = f"{TARGET.architecture.triplet}-gcc"


def sysusers_provide(line: bytes) -> str:
    """A line of sysusers.d as rpm writes it to Provides: padded, so that base64 has no equals sign at its end."""
    return base64.b64encode(line + b"\0" * (-len(line) % 3)).decode()


USER, GROUP = sysusers_provide(b'u life - "The life of it" /var/lib/life'), sysusers_provide(b"g life -")
SPECS = {
    "life": """
%package libs
Summary: Its library
Provides: liblife.so.1()(64bit)
%description libs
Its library.
%package first
Summary: One of two that exclude each other
Conflicts: life-second
%description first
One.
%package second
Summary: The other
%description second
The other.
%install
install -D -m 755 life %{buildroot}/usr/bin/life
install -D -m 755 liblife.so.1 %{buildroot}/usr/lib64/liblife.so.1
install -D -m 640 /dev/null %{buildroot}/etc/life.conf
install -D -m 644 /dev/null %{buildroot}/usr/share/life/version-%{version}
install -d %{buildroot}/var/lib/life
ln %{buildroot}/usr/share/life/version-%{version} %{buildroot}/usr/share/life/twin
ln -s life %{buildroot}/usr/bin/lives
printf '#!/bin/sh\\nexec busybox awk "$@"\\n' >awk # replaces a program of the guest that the lab needs
install -m 755 awk %{buildroot}/usr/bin/awk
%post
echo "$1" >>/var/lib/life/state
%files
/usr/bin/*
/usr/share/life
%config(noreplace) /etc/life.conf
%attr(0750, life, life) /var/lib/life
%ghost /var/lib/life/state
%files libs
/usr/lib64/liblife.so.1
%files first
%files second
""",
    "user": """
%install
install -D -m 644 /dev/null %{buildroot}/usr/share/user/file
%files
/usr/share/user
""",
    "bad": """
%install
install -D -m 755 bad %{buildroot}/usr/bin/bad
install -D -m 644 /dev/null %{buildroot}/usr/share/bad/file
%post
echo changed >/usr/share/bad/file
touch /usr/share/stray
%postun
mkdir -p /usr/share/bad
touch /usr/share/bad/file
%files
/usr/bin/bad
/usr/share/bad
""",
}
HEAD = """\
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global _build_id_links none
Name: {name}
Version: {version}
Release: 1
Summary: A package of the tests
License: Public Domain
AutoReqProv: no
{head}
%description
A package of the tests.
%prep
cp {files}/* .
"""
PROVIDES = {
    "life": f"Provides: user(life) = {USER}\nProvides: group(life) = {GROUP}\nRequires: liblife.so.1()(64bit)",
    "user": "Requires: liblife.so.1()(64bit)",
    "bad": "",
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program and its library, and a program with a missing library and a forbidden rpath."""
    folder = tmp_path_factory.mktemp("programs")
    sources = {
        "half": "int half(int n) { return n / 2; }",
        "life": "int half(int); int main(void) { return half(42); }",
    }
    for name, text in sources.items():
        (folder / f"{name}.c").write_text(text)
    for line in (
        "-shared -fPIC -Wl,-soname,liblife.so.1 -o liblife.so.1 half.c",
        "-o life life.c liblife.so.1",
        "-shared -fPIC -Wl,-soname,libnowhere.so.9 -o libnowhere.so half.c",
        "-Wl,-rpath,/opt/elsewhere -o bad life.c libnowhere.so",
    ):
        run([GCC, *line.split()], cwd=folder)
    return folder


def build(top: Path, programs: Path, name: str, version: str = "1") -> list[Path]:
    """Build the packages of a spec for the target's architecture, on any host."""
    text = HEAD.format(name=name, version=version, head=PROVIDES[name], files=programs) + SPECS[name]
    folder = top / f"{name}-{version}"
    folder.mkdir(parents=True)
    (folder / "it.spec").write_text(text)
    run(
        ["rpmbuild", "-ba", "--nodeps", "--target", f"{TARGET.rpm_arch}-linux", "--define", f"_topdir {folder}",
         "--define", "_arch aarch64", folder / "it.spec"]
    )  # fmt: skip
    return sorted(folder.glob("RPMS/*/*.rpm"))


def store(state: Path, rpms: list[Path], name: str, tests: Mapping[str, bytes] | None = None) -> Path:
    """Store a build in the artifact store, as `kitten build` does."""
    folder = state / "artifacts" / "builds" / TARGET.name / f"{name}-{rpms[0].parts[-4]}"
    folder.mkdir(parents=True)
    srpm = next(rpms[0].parents[2].glob("SRPMS/*.rpm"))
    for path in (*rpms, srpm):
        (folder / path.name).write_bytes(path.read_bytes())
    carried = None
    if tests:
        (folder / "t").mkdir()
        for script, text in tests.items():
            (folder / "t" / script).write_bytes(text)
        with tarfile.open(folder / "tests.tar", "w") as archive:
            archive.add(folder / "t", ".")
        carried = artifact(folder / "tests.tar", f"{folder}/tests.tar")
    BuildResult(
        summary="built", target=TARGET.name, package=name, nevr=srpm.name.removesuffix(".src.rpm"), identity="i",
        url=str(folder), srpm=artifact(folder / srpm.name, f"{folder}/{srpm.name}"), tests=carried,
        rpms=tuple(artifact(folder / path.name, f"{folder}/{path.name}") for path in rpms),
    ).write(folder / "build.json")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def site() -> Site:
    """The demo with the packages of these tests, which can be published without a proof."""
    staged, _, last = DEMO.stages
    stages = [staged, last.model_copy(update={"gate": (GateRule(rule="built"),)})]
    one = [item for item in DEMO.repositories.repositories if item.name == "BaseOS"]
    repositories = DEMO.repositories.model_copy(update={"repositories": tuple(one)})
    package = SourcePackage(name="life", binaries=("life", "life-libs", "life-first", "life-second"))
    changes = {"stages": tuple(stages), "repositories": repositories, "packages": (package,)}
    return DEMO.model_copy(update=changes)


def request_for(
    site: Site, state: Path, rpms: list[Path], tests: Mapping[str, bytes], scratch: Path, **more: bool
) -> Request:
    return helpers.request("packages", TARGET, scratch, rpms, tests, site=site, state=state, **more)


def outcomes(cases: tuple[Case, ...]) -> dict[str, str]:
    return {case.name: case.outcome for case in cases}


GOOD_TESTS = {
    "a-runs.sh": b"/usr/bin/life; test $? = 21 && /usr/bin/lives; test $? = 21\n",
    "b-aborts.sh": b"# kitten: expects core-dump\nbash -c 'kill -ABRT $$'\ntest $? = 134\n",
    "c-inventory.sh": b"rpm -q life life-libs && grep ^life:x: /etc/passwd && grep . /var/lib/life/state || exit\n"
    b"test -O /etc/life.conf && test ! -L /usr/bin/awk\n",
}


def test_a_correct_package_passes_all_steps(site, programs, tmp_path):
    state = tmp_path / "state"
    old, new = (build(tmp_path, programs, "life", version) for version in ("1", "2"))
    publish(site, state, TARGET.name, str(store(state, [path for path in old if "second" not in path.name], "life")))
    stage(site, state, TARGET.name, str(store(state, new, "life")))
    user = store(state, build(tmp_path, programs, "user"), "user", {"use.sh": b"test -e /usr/share/user/file\n"})
    stage(site, state, TARGET.name, str(user))
    report = packages.run(request_for(site, state, new, GOOD_TESTS, tmp_path, dependents=True))
    assert outcomes(report.cases) == {
        **dict.fromkeys(("install", "verify", "files", "libraries", "rpath", "uninstall"), "passed"),
        **dict.fromkeys(("install published", "upgrade", "verify after upgrade"), "passed"),
        **dict.fromkeys(GOOD_TESTS, "passed"),
        **{f"after upgrade: {name}": "passed" for name in GOOD_TESTS},
        **dict.fromkeys(("b-aborts.sh: expects core-dump", "after upgrade: b-aborts.sh: expects core-dump"), "passed"),
        **{f"dependent user: {name}": "passed" for name in ("install", "use.sh", "uninstall")},
        "install life-second": "skipped",
    }, [case for case in report.cases if case.outcome == "failed"]


BAD_TESTS = {
    "a-aborts.sh": b"bash -c 'kill -ABRT $$'\ntrue\n",
    "b-hangs.sh": b"echo begun\nsleep 10000 & sleep 10000\n",
    "c-promises.sh": b"# kitten: expects sigill\ntrue\n",
    "d.bats": b"@test x { true; }\n",
    "e-runs.sh": b"/usr/bin/bad\n",
}


def test_each_rule_that_a_package_breaks_is_named(site, programs, tmp_path, monkeypatch):
    life = lifecycle.life
    monkeypatch.setattr(lifecycle, "life", lambda plan, loader, _limit: life(plan, loader, 10))
    report = packages.run(request_for(site, tmp_path / "state", build(tmp_path, programs, "bad"), BAD_TESTS, tmp_path))
    found = {case.name: case for case in report.cases}
    assert found["install"].outcome == "passed"
    assert "/usr/share/bad/file" in found["verify"].reason
    assert found["files"].reason == "no package lists /usr/share/stray"
    assert found["libraries"].reason == "/usr/bin/bad: libnowhere.so.9 => not found"
    assert found["rpath"].reason.startswith("/usr/bin/bad: /opt/elsewhere: not a folder of this package")
    assert "a-aborts.sh" in found
    assert "bash by signal 6" in found["console: core-dump"].reason
    assert (found["b-hangs.sh"].outcome, found["b-hangs.sh"].reason) == ("failed", "it did not end within 10 s")
    assert "but it did not happen" in found["c-promises.sh: expects sigill"].reason
    assert (found["d.bats: all"].outcome, found["d.bats: all"].code) == ("skipped", "no-interpreter")
    assert found["e-runs.sh"].reason == "exit status 127"
    assert "left behind: /usr/share/bad/file" in found["uninstall"].reason
    assert (found["upgrade"].outcome, found["upgrade"].code) == ("skipped", "no-published-version")
