"""Placement of binary packages: the order of the settings that decide, and the error if none does."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.loading import load_site
from config.models import Repositories, SourcePackage
from config.placement import decide, moves
from tests.config.conftest import Break, lines

REPOSITORIES = Repositories.model_validate(
    {
        "layout": {"root": "10-kitten"},
        "repositories": [{"name": name} for name in ("BaseOS", "AppStream", "CRB")],
        "rules": [
            {"binary": "*-devel", "repository": "CRB"},
            {"source": "spice*", "repository": "AppStream", "targets": ["x86_64"]},
        ],
    }
)
DEFAULT = REPOSITORIES.model_copy(update={"default": "BaseOS"})


def placement(
    binary: str, published: dict[str, str] | None = None, repositories: Repositories = REPOSITORIES, **entry: object
) -> object:
    package = SourcePackage.model_validate({"name": "spice", **entry})
    found = decide(repositories, package, binary, "x86_64", published)
    return found and (found.repository, found.because)


def test_the_packages_placement_decides_first() -> None:
    found = placement("a-devel", {"a-devel": "BaseOS"}, placement={"a-devel": "AppStream"})
    assert found == ("AppStream", "placement in packages/spice.yaml")


def test_a_published_package_stays_in_its_repository() -> None:
    assert placement("a-devel", {"a-devel": "BaseOS"}, repository="AppStream") == ("BaseOS", "it is published there")


def test_the_first_matching_rule_decides_before_the_packages_repository() -> None:
    assert placement("a-devel", repository="BaseOS") == ("CRB", "rule 1 of repositories.yaml")
    assert placement("spice-server", repository="BaseOS") == ("AppStream", "rule 2 of repositories.yaml")


def test_debuginfo_follows_its_package() -> None:
    assert placement("a-devel-debuginfo") == ("CRB", "rule 1 of repositories.yaml")


def test_then_the_packages_repository_decides_then_the_default() -> None:
    of_others = {"name": "other"}
    assert placement("a", repository="CRB", **of_others) == ("CRB", "repository in packages/other.yaml")
    assert placement("a", repositories=DEFAULT, **of_others) == ("BaseOS", "default of repositories.yaml")
    assert placement("a", **of_others) is None


def test_a_move_is_described() -> None:
    package = SourcePackage.model_validate({"name": "zlib", "placement": {"zlib-devel": "AppStream"}})
    assert list(moves(REPOSITORIES, package, "x86_64", {"zlib-devel": "CRB", "zlib": "BaseOS"})) == [
        "zlib-devel moves from CRB to AppStream on x86_64 (placement in packages/zlib.yaml): "
        "users who have only CRB configured get no further update of it"
    ]


def test_a_package_without_a_repository_is_a_mistake(problems: Break) -> None:
    found = problems("repositories.yaml", "default: BaseOS", "rules: [{binary: '*-devel', repository: CRB}]")
    zlib = [line for line in found if "/zlib.yaml" in line]
    assert zlib == [
        "demo/packages/zlib.yaml:3: binaries[0]: found binary package 'zlib', which nothing places in a repository, "
        "allowed: repository: in this file, placement: {zlib: REPOSITORY} in packages/zlib.yaml, "
        "or a rule for it in repositories.yaml"
    ]


def test_a_site_without_default_may_place_everything_by_rules(folder: Path) -> None:
    repositories = folder / "demo/repositories.yaml"
    rules = "rules: [{binary: '*[!x]', repository: BaseOS}, {binary: '*x', repository: CRB}]"
    repositories.write_text(repositories.read_text().replace("default: BaseOS", rules))
    site = load_site(str(folder / "demo"))
    assert site.repositories.default is None
    placed = {name: decide(site.repositories, site.package(name), name, "s390x") for name in ("zlib", "xz")}
    assert {name: p and p.repository for name, p in placed.items()} == {"zlib": "BaseOS", "xz": "BaseOS"}


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        (
            "- {name: a, title: A}",
            "3: groups[0]: found a group without packages, allowed: at least one of mandatory, default, optional",
        ),
        (
            "- {name: a, title: A, default: [zlibb]}",
            "3: groups[0].default[0]: found unknown binary package 'zlibb', allowed: zlib? (all: ",
        ),
        (
            "- {name: a, title: A, default: [xz], optional: [xz]}",
            "3: groups[0].optional[0]: found package 'xz' twice, first on line 3, ",
        ),
    ],
)
def test_wrong_groups(folder: Path, groups: str, line: str) -> None:
    (folder / "demo/groups.yaml").write_text(f"---\ngroups:\n  {groups}\n")
    (found,) = lines(folder, "demo")
    assert found.startswith(f"demo/groups.yaml:{line}")


def test_environment_of_an_unknown_group(folder: Path) -> None:
    text = "groups:\n  - {name: a, title: A, default: [xz]}\nenvironments:\n  - {name: e, title: E, groups: [b]}\n"
    (folder / "demo/groups.yaml").write_text(text)
    assert lines(folder, "demo") == [
        "demo/groups.yaml:4: environments[0].groups[0]: found unknown group 'b', allowed: a"
    ]


def test_groups_are_not_inherited(folder: Path) -> None:
    (folder / "kitten-10/groups.yaml").write_text("groups:\n  - {name: a, title: A, default: [kernel]}\n")
    assert load_site(str(folder / "demo")).groups.groups == ()
    assert load_site(str(folder / "kitten-10")).groups.groups[0].members == ("kernel",)


def test_rule_for_a_target_that_the_repository_lacks(folder: Path) -> None:
    file = folder / "demo/repositories.yaml"
    rule = "{{binary: '*-static', repository: {}, targets: [s390x]}}"
    rules = f"rules: [{rule.format('CRB')}, {rule.format('BaseOS')}]"
    text = file.read_text().replace("name: CRB, ", "name: CRB, targets: [aarch64], ")
    file.write_text(text.replace("default: BaseOS", f"default: BaseOS\n{rules}"))
    assert lines(folder, "demo") == [
        "demo/repositories.yaml:4: rules[0].repository: found 'CRB', which has no s390x, allowed: "
        "a repository of all these targets, or fewer targets",
        "demo/repositories.yaml:4: rules[1]: found a rule twice, first on line 4, "
        "allowed: each once: the first one decides",
    ]
