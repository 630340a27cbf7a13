"""Source packages for the tests, made by the rpmbuild of the sandbox's base."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Site, SourcePackage
from workers.sandbox.bubblewrap import run_in_base

SPEC = """\
Name: {name}
Version: 1.0
Release: 1%{{?dist}}
Summary: A package of the tests
License: MIT
Source0: main.c
{more}

%description
A package of the tests.

%package devel
Summary: Its header and library
Requires: %{{name}}%{{?_isa}} = %{{version}}-%{{release}}

%description devel
Its header and library.

%prep
%setup -cT
cp %{{SOURCE0}} .

%build
%set_build_flags
{build}

%install
{install}

%check
{check}

%files
{files}

%files devel
{devel}

%changelog
* Mon Jun 02 2025 Test <test@localhost> - 1.0-1
- First
"""
LIBRARY = {
    "build": "$CC $CFLAGS -fPIC -shared -Wl,-soname,libgreet.so.1 $LDFLAGS -o libgreet.so.1 main.c",
    "install": "install -D -m 755 libgreet.so.1 %{buildroot}%{_libdir}/libgreet.so.1\n"
    "ln -s libgreet.so.1 %{buildroot}%{_libdir}/libgreet.so\n"
    "mkdir -p %{buildroot}%{_includedir}\necho 'int greet(void);' > %{buildroot}%{_includedir}/greet.h",
    "check": "true",
    "files": "%{_libdir}/libgreet.so.1",
    "devel": "%{_includedir}/greet.h\n%{_libdir}/libgreet.so",
}
PROGRAM = {
    "more": "BuildRequires: greet-devel",
    "build": "$CC $CFLAGS $LDFLAGS -o hello main.c -lgreet",
    "install": "install -D -m 755 hello %{buildroot}%{_bindir}/hello",
    "check": "test \"$(./hello)\" = 'greet 42'",
    "files": "%{_bindir}/hello",
    "devel": "",
}
MakeSource = Callable[..., Path]


@pytest.fixture
def site() -> Site:
    """Return the demo with the two packages of these tests."""
    packages = tuple(SourcePackage(name=name, binaries=(name, f"{name}-devel")) for name in ("greet", "hello"))
    return load_site("demo").model_copy(update={"packages": packages})


@pytest.fixture
def make_srpm(site: Site, tmp_path: Path) -> MakeSource:
    """Return a function that makes an SRPM from a name, a C file and parts of the spec."""

    def make(name: str, code: str, **parts: str) -> Path:
        folder = tmp_path / "srpm" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "main.c").write_text(code)
        (folder / "it.spec").write_text(SPEC.format(name=name, **({"more": ""} | parts)))
        argv = ["rpmbuild", "-bs", "-D", "_sourcedir /builddir", "-D", "_srcrpmdir /builddir", "it.spec"]
        run_in_base(site, argv, binds={folder: ("/builddir", True)})
        return next(folder.glob("*.src.rpm"))

    return make
