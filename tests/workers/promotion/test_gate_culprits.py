"""Which of several builds cause a refusal, and how many checks it takes to find them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from config.models import Site, SourcePackage, Targets
from tests.workers.promotion.test_gate_targets import MadeUp, asked, passing, record, refused
from tests.workers.repository.synthetic import element
from workers.promotion.gate.culprits import Unit, bisect_failing, units
from workers.promotion.gate.situation import Passing, Situation
from workers.repository.primary import Repositories


def named(site: Site, *names: str) -> list[Passing]:
    """Builds of packages in a signed stage."""
    return [
        passing(
            site, "x86_64", package=SourcePackage(name=name, targets=Targets(("x86_64",))), record=record("x86_64", "2")
        )
        for name in names
    ]


def situation(site: Site, builds: list[Passing], world: MadeUp, rule: str = "installable") -> Situation:
    return asked(site, rule, builds, world=world)


LIB = element("lib-1-1", provides=["lib.so.1"])
APP = element("app-1-1", requires=["lib.so.1"])
LIB2 = element("lib-2-1", provides=["lib.so.2"])


@pytest.mark.parametrize(
    ("there", "brings", "blamed"),
    [
        pytest.param([LIB, APP], {"lib": LIB2, "top": element("top-1-1", requires=["app"])}, {"lib"}, id="removes"),
        pytest.param([LIB], {"lib": LIB2, "app": APP}, {"lib"}, id="removes what comes needs"),
        pytest.param(
            [LIB], {"app": element("app-2-1", requires=["never"]), "top": element("top-1-1", requires=["app"])},
            {"app"}, id="lacks it itself",
        ),
        pytest.param(
            [LIB, APP, element("base-1-1"), element("user-1-1", requires=["base", "lib"])],
            {"lib": element("lib-1-2", provides=["lib.so.1"], conflicts=["base"]), "top": element("top-1-1")},
            {"lib"}, id="excludes",
        ),
        pytest.param(
            [element("user-1-1", requires=["(pack if base)", "base"]), element("base-1-1"), element("pack-1-1")],
            {"pack": element("other-1-1", source="pack"), "top": element("top-1-1")},
            {"pack"}, id="removes what a condition asks for",
        ),
    ],
)  # fmt: skip
def test_the_one_that_takes_away_or_lacks_or_excludes_is_to_blame(
    site: Site, there: list[bytes], brings: dict[str, bytes], blamed: set[str]
) -> None:
    world = MadeUp(Repositories(tuple(there)), {name: (each,) for name, each in brings.items()})
    words = refused(situation(site, named(site, *brings), world))
    assert {each.split(": ")[1].split("-")[0] for each in words} == blamed


def test_the_hint_names_what_to_rebuild_and_the_command_that_shows_more(site: Site) -> None:
    apps = [element(f"app{n}-1-1", source=f"app{n}", requires=["lib.so.1"]) for n in range(6)]
    for count, way in (
        (2, "rebuild app0 and app1, then: kitten gate lib"),
        (6, "rebuild app0, app1, app2 and 3 more, then: kitten gate lib"),
    ):
        world = MadeUp(Repositories((LIB, *apps[:count])), {"lib": (LIB2,)})
        (words,) = refused(situation(site, named(site, "lib"), world))
        assert words.split(" → ")[1] == way
    world = MadeUp(Repositories(()), {"app": (APP,)})
    (words,) = refused(situation(site, named(site, "app"), world))
    assert words.split(" → ")[1] == "fix app, or publish what it needs, then: kitten gate app"


def test_what_only_comes_together_is_one_unit(site: Site) -> None:
    brings: dict[str, Any] = {
        "app": (element("app-2-1", requires=["lib.so.2", "base"]),),
        "base": (element("base-2-1"),),
        "lib": (LIB2,),
        "plugin": (element("plugin-1-1", requires=["app", "(other if base)"]),),
        "tool": (element("tool-1-1", requires=["app >= 2"]),),
    }
    builds = named(site, *brings)
    before = Repositories((element("base-1-1"), LIB, element("app-1-1")))
    found = units(situation(site, builds, MadeUp(before, brings)), builds, before, "x86_64")
    assert [[each.package.name for each in unit] for unit in found] == [["app", "lib", "tool"], ["base"], ["plugin"]]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("place", [0, 0.4, 1])
def test_one_failing_build_among_many_is_found_by_few_checks(site: Site, count: int, place: float) -> None:
    every = [(each,) for each in named(site, *(f"p{n:03}" for n in range(count)))]
    bad = every[round(place * (count - 1))]
    checks: list[Unit] = []

    def refuses(some: Unit) -> str:
        checks.append(some)
        return "no" if bad[0] in some else ""

    ((found, message),) = bisect_failing(every, "all fail", refuses)
    assert found is bad[0]
    assert message == ("no" if any(bad[0] in some for some in checks) else "all fail")
    assert len(checks) <= math.ceil(math.log2(count)) + 1


def test_two_that_fail_only_together_cost_one_of_them(site: Site) -> None:
    every = [(each,) for each in named(site, *"abcdefgh")]

    def refuses(some: Unit) -> str:
        return "b and f" if {"b", "f"} <= {each.package.name for each in some} else ""

    assert [(each.package.name, message) for each, message in bisect_failing(every, "no", refuses)] == [
        ("f", "b and f")
    ]


def test_several_failing_builds_are_found_as_far_as_the_checks_go(site: Site) -> None:
    every = [(each,) for each in named(site, *(f"p{n:02}" for n in range(64)))]
    bad = {f"p{n:02}" for n in range(0, 64, 2)}
    checks: list[Unit] = []

    def refuses(some: Unit) -> str:
        checks.append(some)
        return "no" if bad & {each.package.name for each in some} else ""

    found = {each.package.name for each, _ in bisect_failing(every, "no", refuses)}
    assert found
    assert found <= bad
    assert len(checks) <= 4 * 7 + 7
    assert {p.package.name for p, _ in bisect_failing(every[:6], "no", refuses)} == {"p00", "p02", "p04"}
