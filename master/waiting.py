"""Why a build waits: the real dependencies between packages, as pure functions.

A build waits while a package it needs is being made, or was never made on its target. It does not wait for a package
whose builds only ever failed: its own failure then says what is missing, which a wait would hide.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from config.models import Site


@dataclass(frozen=True)
class Request:
    """An unfinished build request of a target's builder."""

    id: int
    package: str
    needs: frozenset[str] = frozenset()
    """Packages of this site that its BuildRequires name, itself excluded."""


def providers(site: Site, target: str) -> dict[str, str]:
    """Binary package → the package that makes it on that target."""
    return {
        binary: package.name
        for package in site.packages
        if any(made_on.name == target for made_on in site.targets_of(package))
        for binary in (package.name, *package.binaries)
    }


def needs(package: str, build_requires: Iterable[str], made_by: Mapping[str, str]) -> frozenset[str]:
    """The packages of this site that BuildRequires name.

    A requirement is ``name``, ``name(arch)`` or either with a version; a capability such as ``pkgconfig(zlib)`` names
    no package and counts for nothing here: the build itself finds out whether it is there.
    """
    found = set()
    for requirement in build_requires:
        name = re.split(r"[\s<>=]", requirement.strip(), maxsplit=1)[0]
        name = re.sub(r"\((x86-64|x86-32|aarch-64|ppc-64|s390-64|riscv-64)\)$", "", name)  # what %{?_isa} adds
        if (provider := made_by.get(name)) and provider != package:
            found.add(provider)
    return frozenset(found)


def _reaches(start: str, goal: str, graph: Mapping[str, Collection[str]]) -> bool:
    seen, todo = set(), [start]
    while todo:
        package = todo.pop()
        if package == goal:
            return True
        if package not in seen:
            seen.add(package)
            todo.extend(graph.get(package, ()))
    return False


def dependents(package: str, on_target: Iterable[Request]) -> int:
    """How many unfinished requests of a target wait for a package, directly or through others: how urgent it is."""
    requests = list(on_target)
    graph: dict[str, set[str]] = {}
    for each in requests:
        graph.setdefault(each.package, set()).update(each.needs)
    return sum(each.package != package and _reaches(each.package, package, graph) for each in requests)


def reason_to_wait(
    request: Request,
    target: str,
    in_source: Collection[str],
    on_target: Collection[Request],
    history: Mapping[str, bool],
) -> str | None:
    """Why this request has to wait, or nothing if it may start.

    Packages that need each other go in the order in which they were asked for.

    :param in_source: packages whose source package is being made, or waits to be.
    :param on_target: unfinished requests on this target, running ones included.
    :param history: package → whether it was ever built on this target; absent: never tried to the end.
    """
    others = [other for other in on_target if other.id != request.id]
    if any(other.package == request.package and other.id < request.id for other in others):
        return f"waits for an earlier build of {request.package} on {target}"
    graph: dict[str, set[str]] = {}
    for each in on_target:
        graph.setdefault(each.package, set()).update(each.needs)
    for provider in sorted(request.needs):
        under_way = [other.id for other in others if other.package == provider]
        in_a_circle = _reaches(provider, request.package, graph)
        if under_way and (not in_a_circle or min(under_way) < request.id):
            return f"waits for {provider}: under way on {target}"
        if provider in in_source and not under_way:
            return f"waits for {provider}: its source package is being made"
        if not under_way and provider not in history:
            return f"waits for {provider}, which has never been built on {target}"
    return None
