"""Why a build waits: the dependencies between packages, as pure functions.

A build waits while a package that it needs is being built, or if that package was never built on its target. It does
not wait for a package whose builds always failed: its own failure then shows what is missing, which a wait would hide.
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
    """Packages of this site that its BuildRequires name, except itself."""


def providers(site: Site, target: str) -> dict[str, str]:
    """Return binary package → the package that makes it on this target."""
    return {
        binary: package.name
        for package in site.packages
        if any(made_on.name == target for made_on in site.targets_of(package))
        for binary in (package.name, *package.binaries)
    }


def needs(package: str, build_requires: Iterable[str], made_by: Mapping[str, str]) -> frozenset[str]:
    """Return the packages of this site that BuildRequires name.

    A requirement is ``name`` or ``name(arch)``, with or without a version. A capability such as ``pkgconfig(zlib)``
    names no package and is ignored: the build fails if nothing provides it.
    """
    packages = set()
    for requirement in build_requires:
        name = re.split(r"[\s<>=]", requirement.strip(), maxsplit=1)[0]
        name = re.sub(r"\((x86-64|x86-32|aarch-64|ppc-64|s390-64|riscv-64)\)$", "", name)  # what %{?_isa} adds
        if (provider := made_by.get(name)) and provider != package:
            packages.add(provider)
    return frozenset(packages)


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
    """Return how many unfinished requests of a target wait for a package, directly or through others: its urgency."""
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
    """Return why this request has to wait; None if it may start.

    Packages that need each other start in the order of their requests.

    :param in_source: packages whose source package is being made, or waits for a worker.
    :param on_target: unfinished requests on this target; those that run are included.
    :param history: package → whether a build on this target ever succeeded; absent: none ever finished.
    """
    others = [other for other in on_target if other.id != request.id]
    if any(other.package == request.package and other.id < request.id for other in others):
        return f"waits for an earlier build of {request.package} on {target}"
    graph: dict[str, set[str]] = {}
    for each in on_target:
        graph.setdefault(each.package, set()).update(each.needs)
    for provider in sorted(request.needs):
        under_way = [other.id for other in others if other.package == provider]
        in_a_cycle = _reaches(provider, request.package, graph)
        if under_way and (not in_a_cycle or min(under_way) < request.id):
            return f"waits for {provider}: under way on {target}"
        if provider in in_source and not under_way:
            return f"waits for {provider}: its source package is being made"
        if not under_way and provider not in history:
            return f"waits for {provider}, which has never been built on {target}"
    return None
