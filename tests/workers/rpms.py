"""Real packages that the host's gcc and rpmbuild make from a spec of a few lines."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Site, Target
from workers.base.run import run

MAIN = "int half(int); int main(int count, char **words) { (void)words; return half(count); }\n"
HALF = "int half(int value) { return value / 2; }\n"

SPEC = """\
%global debug_package %{{nil}}
%global __strip /bin/true
%global __os_install_post %{{nil}}
%global _build_id_links none
Name: {name}
Version: 1
Release: 1
Summary: A package of the tests
License: Public Domain
{head}
%description
A package of the tests.
%package debuginfo
Summary: Its debug data
%description debuginfo
Its debug data.
%install
mkdir -p %{{buildroot}}/usr/bin %{{buildroot}}/usr/lib/debug/usr/bin
cp {files}/* %{{buildroot}}/usr/bin/
cp {debug}/* %{{buildroot}}/usr/lib/debug/usr/bin/ || true
%files
/usr/bin/*
%files debuginfo
/usr/lib/debug
"""


@pytest.fixture(scope="session")
def site() -> Site:
    return load_site("demo")


@pytest.fixture(scope="session")
def target(site: Site) -> Target:
    """The target for whose level the host's gcc compiles by default."""
    return site.target("x86_64")


def compile_program(
    folder: Path, name: str, flags: Sequence[str], half_flags: Sequence[str] | None = None, link: Sequence[str] = ()
) -> Path:
    """Compile a program of two objects; the second can have other flags."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = []
    for part, text, its_flags in (("main", MAIN, flags), ("half", HALF, flags if half_flags is None else half_flags)):
        (folder / f"{part}.c").write_text(text)
        run(["gcc", "-O2", "-g", "-grecord-gcc-switches", *its_flags, "-c", f"{part}.c"], cwd=folder)
        objects.append(f"{part}.o")
    run(["gcc", "-Wl,-z,relro,-z,now", *link, "-Wl,--build-id=sha1", "-o", name, *objects], cwd=folder)
    return folder / name


def split_debug(program: Path, into: Path) -> Path:
    """Move the debug data of a program into a .debug file, as rpmbuild does."""
    into.mkdir(parents=True, exist_ok=True)
    debug = into / f"{program.name}.debug"
    run(["objcopy", "--only-keep-debug", program, debug])
    run(["strip", "-g", program])
    return debug


BuildRpm = Callable[..., list[Path]]


@pytest.fixture(scope="session")
def build_rpm(site: Site, target: Target, tmp_path_factory: pytest.TempPathFactory) -> BuildRpm:
    """A function that packs files and debug files with rpmbuild; it returns the package and its debuginfo package."""

    def build(
        name: str, files: Sequence[Path], debug: Sequence[Path] = (), *,
        optflags: Sequence[str] | None = None, arch: str = "x86_64", head: str = "", payload: str = "w3.zstdio",
    ) -> list[Path]:  # fmt: skip
        top = tmp_path_factory.mktemp(name)
        for folder, content in (("files", files), ("debug", debug)):
            (top / folder).mkdir()
            for file in content:
                shutil.copy(file, top / folder)
        if optflags is None:
            optflags = (*site.build.optflags, *target.flags.compiler)
        (top / "rpmrc").write_text(
            Path("/usr/lib/rpm/rpmrc").read_text() + f"\noptflags: {arch} {' '.join(optflags)}\n"
        )
        (top / "it.spec").write_text(SPEC.format(name=name, head=head, files=top / "files", debug=top / "debug"))
        run(
            ["rpmbuild", "-bb", "--rcfile", top / "rpmrc", "--target", f"{arch}-redhat-linux",
             "--define", f"_topdir {top}", "--define", f"_binary_payload {payload}", "--nodeps", top / "it.spec"]
        )  # fmt: skip
        return sorted((top / "RPMS").rglob("*.rpm"))

    return build


@pytest.fixture(scope="session")
def good_program(target: Target, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stripped program with the target's flags in both objects, and its debug file."""
    folder = tmp_path_factory.mktemp("good")
    program = compile_program(folder, "good", target.flags.compiler)
    return program, split_debug(program, folder / "debug")


@pytest.fixture(scope="session")
def good_rpms(build_rpm: BuildRpm, good_program: tuple[Path, Path]) -> list[Path]:
    """The package of ``good_program``, and its debuginfo package."""
    program, debug = good_program
    return build_rpm("good", [program], [debug])
