"""The sandbox trees and the guests' parts, which the demo prepares for each target before it starts.

If a mirror lacks something for one target, the others go on.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from master.client.overlay import with_optional_targets
from master.errors import ServiceError
from master.service.service import Service


@dataclass(frozen=True)
class SetUp:
    """The targets that could not be set up: target → why, in one line."""

    no_tree: Mapping[str, str]
    """Packages cannot be built for these."""
    no_guest: Mapping[str, str]
    """Packages are built for these, and not tested."""

    @property
    def missing(self) -> Mapping[str, str]:
        """All targets that could not be set up."""
        return {**self.no_guest, **self.no_tree}


def set_up_targets(service: Service, console: Console) -> SetUp:
    """Make the sandbox tree and the guests' parts in the cache. This is slow the first time.

    If a mirror lacks something for one target, this does not wait, unless the user sets ``KITTEN_MIRROR_WAIT``.

    :raises ServiceError: no target can be set up.
    """
    set_up = SetUp(_run(service, "sandbox"), _run(service, "guests"))
    names = {target.name for target in service.site.targets}
    if names <= set_up.missing.keys():
        raise ServiceError(f"no target can be set up: {next(iter(set_up.missing.values()))}")
    ready = f" for {', '.join(sorted(names - set_up.missing.keys()))}" if set_up.missing else ""
    console.print(f"sandbox and guests are ready{ready}")
    return set_up


def _run(service: Service, command: str) -> Mapping[str, str]:
    """Run ``kitten sandbox`` or ``kitten guests``; return target → why it cannot be set up."""
    with tempfile.TemporaryDirectory(prefix="kitten-demo-") as folder:
        file = Path(folder) / "result.json"
        # First without a wait, which some missing targets are not worth. Then with a wait, if no target can go on.
        waits = [{}] if "KITTEN_MIRROR_WAIT" in os.environ else [{"KITTEN_MIRROR_WAIT": "0"}, {}]
        for wait in waits:
            file.unlink(missing_ok=True)
            if service.kitten(command, "--json", str(file), environment=wait).returncode == 0:
                return {}
            missing = _missing(file)
            if 0 < len(missing) < len(service.site.targets):
                return missing
    raise ServiceError(f"kitten {command} failed; its message is above")


def _missing(file: Path) -> dict[str, str]:
    """Return target → why it cannot be used, from a result of ``kitten sandbox`` or ``kitten guests``."""
    if not file.is_file():
        return {}
    targets = json.loads(file.read_text())["targets"]
    return {target["target"]: target["cause"] for target in targets if target["outcome"] != "passed"}


def service_without(service: Service, missing: Mapping[str, str], console: Console) -> Service:
    """Return the service that goes on without these targets, and print what that means."""
    if not missing:
        return service
    for target, reason in missing.items():
        console.print(f"[red]{target} cannot be set up[/red]: {escape(reason)}")
    if not service.site.distribution.may_degrade:
        console.print(
            "site.yaml does not have `may_degrade: true`: packages are not published before these targets have them"
        )
        return service
    degraded = with_optional_targets(service, missing)
    console.print(
        f"the demo goes on without {', '.join(missing)}: not required in a copy of the site, {degraded.site_argument}\n"
        f"(to use the copy in other commands: export KITTEN_SITE={degraded.site_argument})"
    )
    return degraded


def resume_hint(missing: Mapping[str, str]) -> str:
    """Return the last line of a demo without some targets: how to resume. It is empty if no target is missing."""
    if not missing:
        return ""
    return (
        f"[red]{', '.join(missing)} could not be set up[/red]: run the same command again when the mirror is complete; "
        "it builds only what is missing\n"
    )
