"""A copy of a site in the state folder, in which targets that cannot be set up on this machine are optional.

The copy extends the site: only the targets differ. The files of the site are never changed, and a site without
``may_degrade`` gets no such copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from config.loading import NOT_INHERITED, SECTIONS, load_site, site_folder
from master.service.basedir import write_whole

if TYPE_CHECKING:
    from config.models import Site
    from master.service.service import Service

FOLDER = "site"
"""The folder of the copy, in the state folder."""
LAG_DAYS = 7
"""Days that an optional target may be behind before newer packages wait for it; a mirror is complete within hours."""
_BESIDE = ("packages", "hardware", "dist-git", *(SECTIONS[section] for section in sorted(NOT_INHERITED)))
"""Files and folders that a site does not inherit from the site that it extends: the copy links to them."""


def original_service(service: Service) -> Service:
    """Return the service on the original site, also if the given one runs on the copy: no copy is made of a copy."""
    base = service.site.distribution.extends
    if base is None or site_folder(service.site_argument).resolve() != (service.state / FOLDER).resolve():
        return service
    return replace(service, site=load_site(base), site_argument=base)


def with_optional_targets(service: Service, reasons: Mapping[str, str]) -> Service:
    """Write a copy of the site in which these targets are optional; return the service on the copy.

    These targets are still built, but their builds do not wait for a mirror: they pass when it is complete again.

    :param reasons: target → why it cannot be set up.
    """
    folder, original = service.state / FOLDER, site_folder(service.site_argument).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in _BESIDE:
        _link(folder / name, original / name)
    because = "".join(f"# {target}: {' '.join(reason.split())}\n" for target, reason in reasons.items())
    head = f"# Written by `kitten demo`. These targets could not be set up, so nothing waits for them:\n{because}"
    write_whole(folder / SECTIONS["targets"], head + _yaml(targets(service.site, reasons)))
    own = service.site.distribution.model_dump(mode="json", exclude_unset=True) | {"extends": str(original)}
    write_whole(folder / SECTIONS["distribution"], _yaml(own))
    return replace(service, site=load_site(str(folder)), site_argument=str(folder), waits_for_mirrors=False)


def targets(site: Site, optional: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the entries of a site's targets.yaml, with ``required: false`` for the named ones."""
    return [
        target.model_dump(mode="json", exclude_unset=True)
        | ({"required": False, "lag_days": LAG_DAYS} if target.name in optional and target.required else {})
        for target in site.targets
    ]


def _yaml(data: object) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def _link(link: Path, target: Path) -> None:
    """Make ``link`` a symbolic link to ``target`` if that exists; else remove it."""
    if link.is_symlink() and target.exists() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    if target.exists():
        link.symlink_to(target)
