"""For small random repositories, the closure reports what libsolv reports if each package is asked for alone."""

from __future__ import annotations

from collections.abc import Iterable

import solv
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.repository.synthetic import element
from workers.promotion.gate.closure import Closure, closure
from workers.repository import primary
from workers.repository.primary import Repositories

NAMES = ("a", "b", "c", "d", "e", "f")
VERSIONS = ("1", "2", "1:1")
FILES = ("/usr/bin/x", "/usr/share/y")

plain = st.sampled_from([*NAMES, "so.1", "so.2"])
versioned = st.builds(
    lambda name, sign, version: f"{name} {sign} {version}",
    st.sampled_from(NAMES),
    st.sampled_from(["=", "<", ">=", ">"]),
    st.sampled_from(VERSIONS),
)
simple = st.one_of(plain, plain, versioned)
rich = st.builds(
    lambda one, word, other: f"({one} {word} {other})",
    simple,
    st.sampled_from(["or", "and", "if", "unless", "with", "without"]),
    simple,
)
nested = st.builds(lambda one, other, third: f"(({one} or {other}) if {third})", plain, plain, plain)
needs = st.lists(st.one_of(simple, simple, simple, rich, nested, st.sampled_from(FILES)), max_size=3)
excluded = st.lists(st.one_of(simple, simple, rich), max_size=1)
packages = st.builds(
    lambda name, version, arch, provides, requires, conflicts, obsoletes, files: element(
        f"{name}-{version}-1",
        arch=arch,
        provides=provides,
        requires=requires,
        conflicts=conflicts,
        obsoletes=obsoletes,
        files=files,
    ),
    st.sampled_from(NAMES),
    st.sampled_from(VERSIONS),
    st.sampled_from(["x86_64", "x86_64", "x86_64", "noarch"]),
    st.lists(st.sampled_from(["so.1", "so.2", "a", "b = 2"]), max_size=1),
    needs,
    excluded,
    st.lists(st.one_of(st.sampled_from(NAMES), versioned), max_size=1),
    st.lists(st.sampled_from(FILES), max_size=1),
)
repositories = st.lists(packages, max_size=7, unique=True)


def alone(packages: Iterable[bytes]) -> set[str]:
    """NEVRAs that libsolv refuses, each asked for alone in a pool that has nothing else."""
    pool = solv.Pool()
    pool.setarch("x86_64")
    primary.load(pool, "all", packages)
    pool.addfileprovides()
    pool.createwhatprovides()
    refused = set()
    for solvable in pool.solvables:
        solver = pool.Solver()
        solver.set_flag(solv.Solver.SOLVER_FLAG_IGNORE_RECOMMENDED, 1)
        if solver.solve([pool.Job(solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_SOLVABLE, solvable.id)]):
            refused.add(str(solvable))
    return refused


def one_of_each(packages: Iterable[bytes]) -> list[bytes]:
    """The packages without a second one of the same NEVRA, since results name packages by NEVRA."""
    return list(
        {each.split(b'href="')[1].split(b'"')[0] + each.split(b"epoch=")[1][:3]: each for each in packages}.values()
    )


def require_true(found: Closure, before: list[bytes], after: list[bytes]) -> None:
    """Check that each package is reported as libsolv judges it, under at least one cause with a sentence."""
    refused, refused_before = alone(after), alone(before)
    stayed = alone_names(set(before) & set(after))
    assert {b.package for b in found.broken} == refused - (refused_before & stayed)
    assert set(found.broken_before) == refused & refused_before & stayed
    assert {b.package for each in found.breakages for b in each.broken} == {b.package for b in found.broken}
    for each in found.breakages:
        assert each.words
        assert each.roots
        assert 0 <= each.direct <= len(each.broken)
        assert "promised" not in each.words
    assert len({each.words for each in found.breakages}) == len(found.breakages)


def alone_names(packages: Iterable[bytes]) -> set[str]:
    pool = solv.Pool()
    pool.setarch("x86_64")
    primary.load(pool, "all", packages)
    return {str(solvable) for solvable in pool.solvables}


@given(repositories, repositories, repositories)
def test_no_package_is_called_sound_or_broken_that_libsolv_judges_otherwise(
    staying: list[bytes], gone: list[bytes], fresh: list[bytes]
) -> None:
    before, after = one_of_each([*staying, *gone]), one_of_each([*staying, *fresh])
    found = closure(Repositories(tuple(before)), Repositories(tuple(after)), "x86_64")
    require_true(found, before, after)


@given(st.lists(packages, min_size=8, max_size=40, unique=True))
def test_a_repository_with_many_broken_packages_is_judged_as_libsolv_does(listed: list[bytes]) -> None:
    after = one_of_each(listed)
    require_true(closure(Repositories(()), Repositories(tuple(after)), "x86_64"), [], after)
