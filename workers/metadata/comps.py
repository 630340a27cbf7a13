"""Groups of packages for dnf (comps.xml): each repository has the groups of its packages.

A repository lists only groups with a member in it, and only their members in it. dnf joins the groups of all
repositories that have the same identifier.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from config.models import Group, Groups, Site


def groups_of(site: Site) -> Callable[[str, set[str]], bytes | None] | None:
    """Return a function (repository, names of its packages) → comps.xml; None for debuginfo and source repositories."""
    if not site.groups.groups:
        return None
    layout = site.repositories.layout
    installed_from = {
        layout.packages.format(repository=repository.name, arch=target.rpm_arch)
        for repository in site.repositories.repositories
        for target in site.targets
    }
    return lambda repository, names: comps_xml(site.groups, names) if repository in installed_from else None


def comps_xml(groups: Groups, binaries: Collection[str]) -> bytes | None:
    """Return comps.xml of a repository; None if it has no member of any group. The same input gives the same bytes.

    :param binaries: names of the binary packages in the repository.
    """
    import libcomps

    present = frozenset(binaries)
    listed = [group for group in groups.groups if present.intersection(group.members)]
    if not listed:
        return None
    names = {group.name for group in listed}
    comps = libcomps.Comps()
    for group in listed:
        comps.groups.append(_group(group, present))
    for category in groups.categories:
        if ids := [name for name in category.groups if name in names]:
            fields = {"id": category.name, "name": category.title, "desc": category.description or category.title}
            entry = _set_fields(libcomps.Category(), fields)
            for name in ids:
                entry.group_ids.append(libcomps.GroupId(name))
            comps.categories.append(entry)
    for environment in groups.environments:
        if ids := [name for name in environment.groups if name in names]:
            fields = {
                "id": environment.name,
                "name": environment.title,
                "desc": environment.description or environment.title,
            }
            entry = _set_fields(libcomps.Environment(), fields)
            for name in ids:
                entry.group_ids.append(libcomps.GroupId(name))
            for name in environment.optional:
                if name in names:
                    entry.option_ids.append(libcomps.GroupId(name))
            comps.environments.append(entry)
    # Written even if it is the library's default: other readers have other defaults.
    text: str = comps.xml_str(xml_options={"default_explicit": True, "uservisible_explicit": True})
    return text.encode()


def _group(group: Group, present: Collection[str]) -> Any:
    import libcomps

    # A description is never empty: strict readers of the format refuse an empty one.
    fields = {
        "id": group.name,
        "name": group.title,
        "desc": group.description or group.title,
        "uservisible": group.visible,
        "default": False,
    }
    entry = _set_fields(libcomps.Group(), fields)
    kinds = (
        (group.mandatory, libcomps.PACKAGE_TYPE_MANDATORY),
        (group.default, libcomps.PACKAGE_TYPE_DEFAULT),
        (group.optional, libcomps.PACKAGE_TYPE_OPTIONAL),
    )
    for packages, kind in kinds:
        for package in packages:
            if package in present:
                entry.packages.append(libcomps.Package(name=package, type=kind))
    return entry


def _set_fields(thing: Any, fields: Mapping[str, object]) -> Any:
    for name, value in fields.items():
        setattr(thing, name, value)
    return thing
