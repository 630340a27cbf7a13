"""Packages that need each other are one set, each with a reason."""

from __future__ import annotations

from tests.workers.repository.synthetic import element
from workers.promotion.gate.sets import PackageSet, Waiting, extend
from workers.repository.primary import Repositories

GTK = element("spice-gtk-0.42-1", requires=["libspice.so.5"])
SPICE = element("spice-0.14-1", provides=["libspice.so.5"])
NEWER = element("spice-0.15-1", provides=["libspice.so.6"])
REBUILT = element("spice-gtk-0.42-2", requires=["libspice.so.6"])


def waiting(*elements: bytes) -> dict[str, Waiting]:
    found = {}
    for each in elements:
        nevr = each.split(b'href="Packages/')[1].split(b"/")[1].split(b".x86_64")[0].decode()
        name = nevr.rsplit("-", 2)[0]
        found[name] = Waiting(name, nevr, (each,))
    return found


def extended(asked: list[str], there: list[bytes], *candidates: bytes) -> PackageSet:
    return extend(asked, waiting(*candidates), Repositories(tuple(there)), "x86_64")


def test_a_package_that_breaks_nothing_goes_alone() -> None:
    found = extended(["spice"], [SPICE, element("other-1-1")], NEWER, REBUILT)
    assert (found.packages, found.joined, found.closure.broken) == (("spice",), (), ())


def test_a_new_build_of_the_broken_package_joins() -> None:
    found = extended(["spice"], [SPICE, GTK], NEWER, REBUILT, element("unrelated-2-1"))
    assert (found.packages, found.closure.broken) == (("spice", "spice-gtk"), ())
    assert [each.why for each in found.joined] == [
        "spice-gtk-0.42-2 joins: it replaces spice-gtk-0.42-1.x86_64, which breaks (spice-gtk 0.42-1 needs "
        "libspice.so.5, which only spice 0.14-1 has; spice 0.15-1 replaces it)"
    ]


def test_what_is_missing_joins_until_nothing_is() -> None:
    app = element("app-2-1", requires=["lib >= 2"])
    lib = element("lib-2-1", requires=["base.so.2"])
    found = extended(["app"], [element("lib-1-1")], app, lib, element("base-2-1", provides=["base.so.2"]))
    assert (found.packages, found.closure.broken) == (("app", "lib", "base"), ())
    assert [each.why for each in found.joined] == [
        "lib-2-1 joins: it has lib >= 2, which app-2-1.x86_64 needs",
        "base-2-1 joins: it has base.so.2, which app-2-1.x86_64 needs",
    ]


def test_a_version_that_is_too_old_does_not_join() -> None:
    found = extended(["app"], [], element("app-2-1", requires=["lib >= 2"]), element("lib-1.9-1"))
    assert (found.packages, found.joined) == (("app",), ())
    assert [each.words for each in found.closure.breakages] == ["app 2-1 needs lib >= 2, which nothing has"]


def test_what_would_not_help_stays_out() -> None:
    still = element("spice-gtk-0.42-2", requires=["libspice.so.5"])
    found = extended(["spice"], [SPICE, GTK], NEWER, still)
    assert (found.packages, found.joined) == (("spice",), ())
    assert [broken.package for broken in found.closure.broken] == ["spice-gtk-0.42-1.x86_64"]


def test_one_of_two_providers_is_enough() -> None:
    app = element("app-2-1", requires=["mail"])
    exim, postfix = (element(f"{name}-1-1", provides=["mail"]) for name in ("exim", "postfix"))
    assert extended(["app"], [], app, exim, postfix).packages == ("app", "exim")


def test_a_file_and_a_rich_dependency_are_found_as_well() -> None:
    app = element("app-2-1", requires=["/usr/bin/tool", "(lang-de or lang-en)"])
    tool, lang = element("tool-1-1", files=["/usr/bin/tool"]), element("lang-en-1-1")
    assert extended(["app"], [], app, tool, lang).packages == ("app", "lang-en", "tool")
