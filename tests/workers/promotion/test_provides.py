"""Who may stand for whom: a package of another source's name, in Provides, in Obsoletes, and as a name of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config.models import Site, SourcePackage
from tests.workers.promotion.hostile import result_folder, rpms_of
from workers.promotion.gate.provides import Claim, Owner, claims_of, judge
from workers.promotion.promote import promote
from workers.promotion.publish import publish
from workers.repository import index
from workers.repository.state import published

EVIL = SourcePackage(name="evil", binaries=("evil",), repository="BaseOS")
GLIBC = {"glibc": Owner("glibc", "0:2.39-10.el10")}


def refusals(claim: Claim, package: SourcePackage = EVIL, known: frozenset[tuple[str, str]] = frozenset()) -> list[str]:
    return [str(refusal) for refusal in judge(package, {"evil-1-1.x86_64.rpm": [claim]}, GLIBC, known)]


@pytest.mark.parametrize("verb", ["is called", "provides", "obsoletes"])
def test_a_name_of_another_source_package_is_refused_and_the_way_out_named(verb: str) -> None:
    assert refusals(Claim(verb, "glibc")) == [
        f"provides: evil-1-1.x86_64.rpm {verb} glibc, which users have from glibc "
        "→ take it out of the spec, or add it to replaces: in packages/evil.yaml"
    ]


def test_what_somebody_decided_what_is_known_and_what_nobody_has_passes() -> None:
    claim = Claim("provides", "glibc")
    assert refusals(claim, EVIL.model_copy(update={"replaces": ("glibc",)})) == []
    assert refusals(claim, known=frozenset({("provides", "glibc")})) == []
    assert refusals(claim, known=frozenset({("obsoletes", "glibc")})) != []
    assert refusals(claim, EVIL.model_copy(update={"name": "glibc"})) == [], "its own"
    assert refusals(Claim("provides", "webserver")) == refusals(Claim("provides", "config(glibc)")) == []


@pytest.mark.parametrize(
    ("flag", "version", "hits"),
    [
        ("", ("", "", ""), True),
        ("LT", ("0", "2.40", ""), True),
        ("LT", ("0", "2.39", ""), False),
        ("LE", ("0", "2.39", ""), True),
        ("LT", ("0", "2.39", "10.el10"), False),
        ("LT", ("0", "2.39", "11.el10"), True),
        ("EQ", ("", "2.39", "10.el10"), True),
        ("GT", ("1", "1", ""), False),
        ("GE", ("0", "2", ""), True),
    ],
)
def test_an_obsoletes_with_a_version_speaks_of_versions_as_rpm_compares_them(
    flag: str, version: tuple[str, str, str], hits: bool
) -> None:
    assert bool(refusals(Claim("obsoletes", "glibc", flag, version))) is hits


def test_provides_minds_no_version() -> None:
    assert refusals(Claim("provides", "glibc", "EQ", ("0", "1", "")))


@pytest.fixture
def two(site: Site) -> Site:
    glibc = SourcePackage(name="glibc", binaries=("glibc", "glibc-common"), repository="BaseOS")
    return site.model_copy(update={"packages": (*site.packages, glibc, EVIL)})


@pytest.fixture
def with_glibc(two: Site, state: Path, tmp_path: Path) -> Site:
    if shutil.which("rpmbuild") is None:
        pytest.skip("rpmbuild is not installed: apt-get install rpm")
    build = result_folder(tmp_path / "glibc", "glibc", rpms_of(tmp_path / "rpms", "glibc", version="2.39"))
    assert publish(two, state, "aarch64", str(build)).outcome == "passed"
    return two


def offered(tmp_path: Path, head: str, version: str = "1") -> str:
    rpms = rpms_of(tmp_path / f"evil-{version}", "evil", head, version=version)
    return str(result_folder(tmp_path / f"build-{version}", "evil", rpms))


@pytest.mark.parametrize(
    ("head", "verb"),
    [("Provides: glibc = 9", "provides"), ("Obsoletes: glibc < 3", "obsoletes"), ("Obsoletes: glibc", "obsoletes")],
)
def test_a_publication_that_would_push_glibc_off_is_refused(
    with_glibc: Site, state: Path, tmp_path: Path, head: str, verb: str
) -> None:
    result = publish(with_glibc, state, "aarch64", offered(tmp_path, head))
    assert result.outcome == "failed"
    assert result.cause == (
        f"provides: evil-1-1.el10.aarch64.rpm {verb} glibc, which users have from glibc "
        "→ take it out of the spec, or add it to replaces: in packages/evil.yaml"
    )
    assert ("evil", "aarch64") not in published(with_glibc, state)


def test_what_came_to_testing_is_held_against_what_users_have(with_glibc: Site, state: Path, tmp_path: Path) -> None:
    """Of packages in a stage, the catalogue has their claims."""
    first, kitten = with_glibc.stages
    testing = kitten.model_copy(update={"name": "testing", "url": "testing", "gate": ()})
    site = with_glibc.model_copy(update={"stages": (first, testing, kitten)})
    assert publish(site, state, "aarch64", offered(tmp_path, "Provides: glibc")).outcome == "passed"
    result = promote(site, state, packages=["evil"])
    assert result.outcome == "failed"
    assert "evil-1-1.el10.aarch64.rpm provides glibc, which users have from glibc" in result.cause


def test_older_versions_and_names_of_no_package_are_no_takeover(with_glibc: Site, state: Path, tmp_path: Path) -> None:
    harmless = offered(tmp_path, "Obsoletes: glibc < 2\nProvides: bundled(glibc) = 2\nProvides: libc")
    assert publish(with_glibc, state, "aarch64", harmless).outcome == "passed"


def test_a_takeover_that_was_decided_stays_without_being_decided_again(
    with_glibc: Site, state: Path, tmp_path: Path
) -> None:
    decided = EVIL.model_copy(update={"replaces": ("glibc",)})
    site = with_glibc.model_copy(update={"packages": (*with_glibc.packages[:-1], decided)})
    assert publish(site, state, "aarch64", offered(tmp_path, "Provides: glibc")).outcome == "passed"
    assert publish(with_glibc, state, "aarch64", offered(tmp_path, "Provides: glibc", "2")).outcome == "passed"
    result = publish(with_glibc, state, "aarch64", offered(tmp_path, "Provides: glibc\nObsoletes: glibc", "3"))
    assert result.cause.startswith("provides: evil-3-1.el10.aarch64.rpm obsoletes glibc, ")


def test_what_a_header_claims_is_read(tmp_path: Path) -> None:
    if shutil.which("rpmbuild") is None:
        pytest.skip("rpmbuild is not installed: apt-get install rpm")
    rpm = rpms_of(tmp_path, "evil", "Epoch: 2\nProvides: glibc = 9\nObsoletes: glibc <= 1:3-4")[0]
    described = index.describe(rpm, rpm.name)
    claims = claims_of(described)
    assert claims[0] == Claim("is called", "evil")
    assert Claim("obsoletes", "glibc", "LE", ("1", "3", "4")) in claims
    assert Claim("provides", "glibc") in claims
    kept = index.catalogue_entry("BaseOS", described).metadata
    assert kept is not None
    assert claims_of(index.package_of(kept)) == claims, "the catalogue has the same"
