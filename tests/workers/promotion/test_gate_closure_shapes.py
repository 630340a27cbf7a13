"""What breaks when distributions publish: one sentence for each cause, as a release engineer reads it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workers.repository.synthetic import element
from workers.promotion.gate import closure as module
from workers.promotion.gate.broken import Breakage
from workers.promotion.gate.closure import closure
from workers.promotion.gate.needs import Cause
from workers.repository.primary import Repositories

Shape = tuple[list[bytes], list[bytes], list[bytes], list[str]]
"""The packages that stay, go and come, and the sentences."""


def breakages(staying: list[bytes], gone: list[bytes], fresh: list[bytes]) -> tuple[Breakage, ...]:
    before, after = Repositories((*staying, *gone)), Repositories((*staying, *fresh))
    return closure(before, after, "x86_64").breakages


def scriptlet(package: bytes, need: str) -> bytes:
    """The package, whose need is one of its scriptlets, as ``Requires(pre)`` is."""
    return package.replace(f'<rpm:entry name="{need}"/>'.encode(), f'<rpm:entry name="{need}" pre="1"/>'.encode())


APPS = [element(f"app{number}-1-1", requires=["libssl.so.3()(64bit)"]) for number in range(6)]

SHAPES: dict[str, Shape] = {
    "a soname is bumped, and what is linked against it is not rebuilt": (
        [*APPS[:2], element("suite-1-1", requires=["app0"])],
        [element("openssl-libs-3.5-1", provides=["libssl.so.3()(64bit)"])],
        [element("openssl-libs-4.0-1", provides=["libssl.so.4()(64bit)"])],
        [
            "app0 1-1 and app1 1-1 need libssl.so.3()(64bit), which only openssl-libs 3.5-1 has; openssl-libs "
            "4.0-1 replaces "
            "it; this breaks suite 1-1"
        ],
    ),
    "of many the first are named": (
        [*APPS, *(element(f"suite{number}-1-1", requires=[f"app{number}"]) for number in range(5))],
        [element("openssl-libs-3.5-1", provides=["libssl.so.3()(64bit)"])],
        [element("openssl-libs-4.0-1", provides=["libssl.so.4()(64bit)"])],
        [
            "app0 1-1, app1 1-1, app2 1-1 and 3 more need libssl.so.3()(64bit), which only openssl-libs 3.5-1 has; "
            "openssl-libs 4.0-1 replaces it; this breaks suite0 1-1, suite1 1-1, suite2 1-1 and 2 more"
        ],
    ),
    "one package had all that is missing": (
        [
            element("one-1-1", requires=["libboost_system.so.1", "libboost_thread.so.1"]),
            element("other-1-1", requires=["libboost_regex.so.1"]),
        ],
        [element("boost-1-1", provides=[f"libboost_{part}.so.1" for part in ("regex", "system", "thread")])],
        [element("boost-2-1", provides=["libboost_regex.so.2"])],
        [
            "one 1-1 and other 1-1 need libboost_regex.so.1, libboost_system.so.1 or libboost_thread.so.1, "
            "which only boost 1-1 has; boost 2-1 replaces it"
        ],
    ),
    "two packages had what is missing": (
        [element("app-1-1", requires=["libjpeg.so.62", "libpng.so.16"])],
        [element("libjpeg-1-1", provides=["libjpeg.so.62"]), element("libpng-1-1", provides=["libpng.so.16"])],
        [element("libjpeg-2-1", provides=["libjpeg.so.63"])],
        [
            "app 1-1 needs libjpeg.so.62, which only libjpeg 1-1 has; libjpeg 2-1 replaces it",
            "app 1-1 needs libpng.so.16, which only libpng 1-1 has; nothing replaces it",
        ],
    ),
    "a package is renamed and does not provide its old name": (
        [element("app-1-1", requires=["mysql-libs >= 8"])],
        [element("mysql-libs-8.0-1", source="mysql")],
        [element("mysql8.4-libs-8.4-1", source="mysql8.4")],
        ["app 1-1 needs mysql-libs >= 8, which only mysql-libs 8.0-1 has; nothing replaces it"],
    ),
    "a package is renamed, obsoletes its old name and does not provide it": (
        [element("app-1-1", requires=["mysql-libs >= 8"])],
        [element("mysql-libs-8.0-1", source="mysql")],
        [element("mysql8.4-libs-8.4-1", source="mysql8.4", obsoletes=["mysql-libs < 8.4"])],
        ["app 1-1 needs mysql-libs >= 8, which only mysql-libs 8.0-1 has; mysql8.4-libs 8.4-1 replaces it"],
    ),
    "a package obsoletes one of another source package": (
        [element("desktop-1-1", requires=["iptables", "nftables"]), element("iptables-1.8-1")],
        [element("nftables-1.0-1")],
        [element("nftables-1.1-1", obsoletes=["iptables < 2"])],
        [
            "desktop 1-1 needs nftables; desktop 1-1 needs iptables; nftables 1.1-1 obsoletes iptables < 2, "
            "which is iptables "
            "1.8-1; this breaks desktop 1-1"
        ],
    ),
    "a subpackage in another repository stays behind": (
        [element("lib-devel-1-1", source="lib", requires=["lib = 1-1"])],
        [element("lib-1-1")],
        [element("lib-1-2")],
        ["lib-devel 1-1 needs lib = 1-1, which only lib 1-1 has; lib 1-2 replaces it"],
    ),
    "a subpackage comes before the one it is of": (
        [element("lib-1-1")],
        [],
        [element("lib-devel-1-2", source="lib", requires=["lib = 1-2"])],
        ["lib-devel 1-2 needs lib = 1-2, which nothing has"],
    ),
    "an interpreter is at another path": (
        [element("script-1-1", requires=["/usr/bin/python3"])],
        [element("python3-3.12-1", files=["/usr/bin/python3", "/usr/bin/python3.12"])],
        [element("python3-3.14-1", files=["/usr/bin/python3.14"])],
        ["script 1-1 needs /usr/bin/python3, which only python3 3.12-1 has; python3 3.14-1 replaces it"],
    ),
    "an interpreter's interface is another one": (
        [element("python3-yaml-6-1", requires=["python(abi) = 3.12"])],
        [element("python3-3.12-1", provides=["python(abi) = 3.12"])],
        [element("python3-3.14-1", provides=["python(abi) = 3.14"])],
        ["python3-yaml 6-1 needs python(abi) = 3.12, which only python3 3.12-1 has; python3 3.14-1 replaces it"],
    ),
    "a package is built against a newer C library than users have": (
        [element("glibc-2.39-1", provides=["libc.so.6(GLIBC_2.34)(64bit)"])],
        [],
        [element("app-1-1", requires=["libc.so.6(GLIBC_2.34)(64bit)", "libc.so.6(GLIBC_2.41)(64bit)"])],
        ["app 1-1 needs libc.so.6(GLIBC_2.41)(64bit), which nothing has"],
    ),
    "a need of a scriptlet": (
        [scriptlet(element("daemon-1-1", requires=["user(daemon)"]), "user(daemon)")],
        [element("users-1-1", provides=["user(daemon)"])],
        [element("users-2-1")],
        ["daemon 1-1 needs user(daemon), which only users 1-1 has; users 2-1 replaces it"],
    ),
    "a package is of no architecture any more": (
        [element("lib-devel-1-1", requires=["lib(x86-64) = 1-1"])],
        [element("lib-1-1", provides=["lib(x86-64) = 1-1"])],
        [element("lib-1-2", arch="noarch")],
        ["lib-devel 1-1 needs lib(x86-64) = 1-1, which only lib 1-1 has; lib 1-2 replaces it"],
    ),
    "an epoch is lost": (
        [element("tool-1-1", requires=["lib >= 1:1"])],
        [element("lib-1:1.9-1")],
        [element("lib-2.0-1")],
        ["tool 1-1 needs lib >= 1:1, which only lib 1:1.9-1 has; lib 2.0-1 replaces it"],
    ),
    "a new conflict with what something else provides": (
        [element("server-1-1", requires=["mta", "web"]), element("exim-1-1", provides=["mta"])],
        [element("web-1-1")],
        [element("web-2-1", conflicts=["mta"])],
        [
            "server 1-1 needs web; server 1-1 needs mta; web 2-1 conflicts with mta, which is exim 1-1; "
            "this breaks server 1-1"
        ],
    ),
    "many packages need two that exclude each other": (
        [element(f"app{number}-1-1", requires=["one", "other"]) for number in range(5)] + [element("other-1-1")],
        [element("one-1-1")],
        [element("one-2-1", conflicts=["other"])],
        [
            "app0 1-1 needs one; app0 1-1 needs other; one 2-1 conflicts with other; "
            "this breaks app0 1-1, app1 1-1, app2 1-1 and 2 more"
        ],
    ),
    "a kernel of several that are installed side by side goes": (
        [element("kernel-core-6.12-2"), element("kmod-nic-1-1", requires=["kernel-core = 6.12-1"])],
        [element("kernel-core-6.12-1")],
        [element("kernel-core-6.12-3")],
        ["kmod-nic 1-1 needs kernel-core = 6.12-1, which only kernel-core 6.12-1 has; kernel-core 6.12-3 replaces it"],
    ),
    "two versions of one name are needed at once": (
        [
            element("app-1-1", requires=["kmod-a", "kmod-b"]),
            element("kmod-a-1-1", requires=["core = 1-1"]),
            element("core-1-1"),
        ],
        [element("kmod-b-1-1", requires=["core = 1-1"])],
        [element("kmod-b-2-1", requires=["core = 2-1"]), element("core-2-1")],
        [
            "app 1-1 needs kmod-b; app 1-1 needs kmod-a; kmod-b 2-1 needs core = 2-1; kmod-a 1-1 needs core = 1-1; "
            "core 1-1 and core 2-1 cannot be installed together; this breaks app 1-1"
        ],
    ),
    "a package moves to a repository that the target has not": (
        [element("app-1-1", requires=["lib"]), element("lib-doc-1-1", source="lib")],
        [element("lib-1-1")],
        [],
        ["app 1-1 needs lib, which only lib 1-1 has; nothing replaces it"],
    ),
    "a need of two properties of one package": (
        [element("app-1-1", requires=["(font with font(latin))"])],
        [element("dejavu-1-1", provides=["font", "font(latin)"])],
        [element("dejavu-2-1", provides=["font"]), element("latin-1-1", provides=["font(latin)"])],
        ["app 1-1 needs (font with font(latin)), which only dejavu 1-1 has; dejavu 2-1 replaces it"],
    ),
    "a condition that begins to hold": (
        [element("shell-1-1", requires=["(langpack if locales)", "locales"]), element("locales-1-1")],
        [element("langpack-1-1")],
        [],
        ["shell 1-1 needs locales; shell 1-1 needs (langpack if locales), which cannot be met; this breaks shell 1-1"],
    ),
    "what is new needs what was broken before": (
        [element("orphan-1-1", requires=["never.so.1"])],
        [],
        [element("app-1-1", requires=["orphan"]), element("suite-1-1", requires=["orphan"])],
        ["orphan 1-1 needs never.so.1, which nothing has; this breaks app 1-1 and suite 1-1"],
    ),
    "a package lacks something and would conflict if it had it": (
        [element("base-1-1")],
        [],
        [element("app-1-1", requires=["never.so.1", "base"], conflicts=["base"])],
        [
            "app 1-1 needs base; app 1-1 conflicts with base; this breaks app 1-1",
            "app 1-1 needs never.so.1, which nothing has",
        ],
    ),
    "all packages are of another architecture": (
        [],
        [],
        [element(f"lib{number}-1-1", arch="aarch64") for number in range(6)],
        [
            "lib0 1-1, lib1 1-1, lib2 1-1 and 3 more are of architecture aarch64, and systems of x86_64 take "
            "x86_64 and "
            "noarch"
        ],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_cause_is_one_sentence(shape: str) -> None:
    *states, expected = SHAPES[shape]
    assert [each.words for each in breakages(*states)] == expected


@pytest.mark.parametrize("name", ["app", "app = 1-1", "(app or base)"])
def test_a_package_that_excludes_itself_is_sound(name: str) -> None:
    assert breakages([], [], [element("app-1-1", conflicts=[name])]) == ()


def test_several_kernels_side_by_side_are_sound() -> None:
    kernels = [element(f"kernel-core-6.12-{n}") for n in range(3)]
    modules = [element(f"kmod{n}-1-1", requires=[f"kernel-core = 6.12-{n}"]) for n in range(3)]
    assert breakages([*kernels, *modules], [], [element("kernel-core-6.12-3")]) == ()


def test_the_package_that_had_what_is_missing_is_data_for_programs() -> None:
    (found,) = breakages(*SHAPES["a soname is bumped, and what is linked against it is not rebuilt"][:3])
    assert (found.roots, found.direct) == (("openssl-libs",), 2)
    assert [each.name for each in found.broken] == ["app0", "app1", "suite"]
    suite = found.broken[2]
    assert (suite.needs, suite.involved) == (("libssl.so.3()(64bit)",), ("app0", "suite"))


@pytest.mark.parametrize("conflict", [False, True])
def test_what_breaks_thousands_takes_few_solves(monkeypatch: pytest.MonkeyPatch, conflict: bool) -> None:
    asked: list[int] = []
    real = module.causes_of

    def counted(pool: Any, number: int) -> tuple[Cause, ...] | None:
        asked.append(number)
        return real(pool, number)

    monkeypatch.setattr(module, "causes_of", counted)
    many = [element(f"app{n:04}-1-1", requires=[f"app{n - 5:04}" if n > 4 else "base"]) for n in range(3000)]
    many += [element(f"top{n:04}-1-1", requires=["base", "other"]) for n in range(1000)]
    other = element("other-1-1")
    fresh = element("base-2-1", conflicts=["other"]) if conflict else element("basis-2-1")
    (found,) = breakages([*many, other], [element("base-1-1")], [fresh])
    assert len(found.broken) == (1000 if conflict else 4000)
    assert len(asked) <= 16
    assert max(len(broken.involved) for broken in found.broken) < 40
    assert len(found.words) < 200
    ended = (
        "top0000 1-1, top0001 1-1, top0002 1-1 and 997 more"
        if conflict
        else "app0005 1-1, app0006 1-1, app0007 1-1 and 2,992 more"
    )
    assert found.words.endswith(f"; this breaks {ended}")


def test_a_long_chain_names_its_ends_as_involved() -> None:
    many = [element(f"app{n:02}-1-1", requires=[f"app{n - 1:02}" if n else "base"]) for n in range(40)]
    (found,) = breakages(many, [element("base-1-1")], [])
    (last,) = (broken for broken in found.broken if broken.name == "app39")
    assert {"app39", "app38", "app37", "app28", "app00"} <= set(last.involved)
    assert "app20" not in last.involved, "what is between is left out"
    assert last.needs == ("base",)
    assert found.words == (
        "app00 1-1 needs base, which only base 1-1 has; nothing replaces it; "
        "this breaks app01 1-1, app02 1-1, app03 1-1 and 36 more"
    )


def test_packages_that_differ_only_in_architecture_have_one_sentence_and_count_twice() -> None:
    new = [element("a-2-1", arch=arch, requires=["/usr/share/y"]) for arch in ("x86_64", "noarch")]
    (one,) = breakages([], [], [*new, element("a-1-1", files=["/usr/share/y"])])
    assert one.words == "a 2-1 needs /usr/share/y; a 1-1 and a 2-1 cannot be installed together; this breaks a 2-1"
    assert [broken.package for broken in one.broken] == ["a-2-1.noarch", "a-2-1.x86_64"]
    assert (one.direct, one.roots) == (2, ("a",))
