"""Checks of placement rules: what they name exists, and each recorded binary package has a repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from config.checks.names import chosen_names
from config.placement import BinaryPackage, fits, hint
from config.positions import Document
from config.problems import Problem, one_of, show


def check(sections: Mapping[str, Document], packages: Sequence[Document]) -> Iterator[Problem]:
    """Check the rules, and that every recorded package has a repository."""
    repositories, targets = sections.get("repositories"), sections.get("targets")
    if not repositories or not targets or not isinstance(repositories.data, dict):
        return
    names = {name: item for _, item in targets.mappings() if isinstance(name := item.get("name"), str)}
    yield from _rules(repositories, names)
    yield from _unplaced_packages(repositories, packages, names)


def _rules(repositories: Document, targets: Iterable[str]) -> Iterator[Problem]:
    known = {
        item["name"]: item for _, item in repositories.mappings("repositories") if isinstance(item.get("name"), str)
    }
    seen: dict[tuple[str, ...], int] = {}
    for place, item in repositories.mappings("rules"):
        if item.get("binary", "*") == "*" and item.get("source", "*") == "*":
            found = "a rule for every package"
            yield repositories.problem(place, found, "binary or source, or the key default for all other packages")
        key = tuple(repr(item.get(name)) for name in ("binary", "source", "targets"))
        if key in seen:
            found = f"a rule twice, first on line {seen[key]}"
            yield repositories.problem(place, found, "each once: the first one decides")
        seen.setdefault(key, repositories.line(place))
        name, where = item.get("repository"), (*place, "repository")
        if not isinstance(name, str):
            continue
        if name not in known:
            yield repositories.problem(where, f"unknown repository {show(name)}", one_of(known, name))
        elif missing := _on(item, targets) - _on(known[name], targets):
            found = f"{show(name)}, which has no {', '.join(sorted(missing))}"
            yield repositories.problem(where, found, "a repository of all these targets, or fewer targets")


def _on(item: Mapping[str, object], targets: Iterable[str]) -> set[str]:
    """Return the targets of an entry."""
    return chosen_names(item.get("targets"), targets)


def _unplaced_packages(
    repositories: Document, packages: Sequence[Document], targets: Iterable[str]
) -> Iterator[Problem]:
    """Yield a problem for each recorded binary or source package without a repository on one of its targets."""
    if repositories.at("default") is not None:
        return
    rules = [item for _, item in repositories.mappings("rules")]
    for package in packages:
        name, placement = package.at("name"), package.at("placement")
        if not isinstance(name, str) or package.at("repository") is not None:
            continue
        placed = placement if isinstance(placement, dict) else {}
        words = [(where, binary) for where, binary in package.words("binaries") if binary not in placed]
        if name not in placed and name not in {binary for _, binary in words}:
            words.append((("name",), name))  # its source package
        for where, binary in words:
            candidates = (BinaryPackage(name, binary, target) for target in sorted(_on(package.data, targets)))
            if without := [each.target for each in candidates if not any(_fits(rule, each) for rule in rules)]:
                on = "" if len(without) == len(_on(package.data, targets)) else f" on {', '.join(without)}"
                what = "source package" if where == ("name",) else "binary package"
                found = f"{what} {show(binary)}, which nothing places in a repository{on}"
                yield package.problem(where, found, f"repository: in this file, {hint(name, binary)}")


def _fits(rule: Mapping[str, object], package: BinaryPackage) -> bool:
    binary, source = rule.get("binary", "*"), rule.get("source", "*")
    if not isinstance(binary, str) or not isinstance(source, str):
        return True  # reported already; a bad rule is taken as one that matches
    return bool(_on(rule, {package.target})) and fits(binary, source, package)
