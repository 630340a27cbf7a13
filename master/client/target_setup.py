"""What the demo needs of each target before it starts: the sandbox tree and the guests' parts.

What one target lacks, because a mirror lacks it, stops no other.
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
    """What could not be fetched for the targets: target → why, in one line."""

    no_tree: Mapping[str, str]
    """Packages cannot be built for these."""
    no_guest: Mapping[str, str]
    """Packages are built for these, and not tested."""

    @property
    def missing(self) -> Mapping[str, str]:
        """All of them."""
        return {**self.no_guest, **self.no_tree}


def set_up_targets(service: Service, console: Console) -> SetUp:
    """Make the sandbox tree and the guests' parts, which are kept outside the checkout: slow the first time.

    A mirror that lacks something of one target is not waited for, unless the user says how long (``KITTEN_MIRROR_WAIT``).

    :raises ServiceError: when no target can be set up.
    """
    set_up = SetUp(_run(service, "sandbox"), _run(service, "guests"))
    names = {target.name for target in service.site.targets}
    if names <= set_up.missing.keys():
        raise ServiceError(f"no target can be set up: {next(iter(set_up.missing.values()))}")
    ready = f" for {', '.join(sorted(names - set_up.missing.keys()))}" if set_up.missing else ""
    console.print(f"sandbox and guests are ready{ready}")
    return set_up


def _run(service: Service, command: str) -> Mapping[str, str]:
    """Run ``kitten sandbox`` or ``kitten guests``: target that cannot be set up → why."""
    with tempfile.TemporaryDirectory(prefix="kitten-demo-") as folder:
        file = Path(folder) / "result.json"
        # First without a wait: what only some targets lack is not worth one. What nothing can go on without is.
        waits = [{}] if "KITTEN_MIRROR_WAIT" in os.environ else [{"KITTEN_MIRROR_WAIT": "0"}, {}]
        for wait in waits:
            file.unlink(missing_ok=True)
            if service.kitten(command, "--json", str(file), environment=wait).returncode == 0:
                return {}
            missing = _missing(file)
            if 0 < len(missing) < len(service.site.targets):
                return missing
    raise ServiceError(f"kitten {command} did not succeed (its words are above)")


def _missing(file: Path) -> dict[str, str]:
    """Target → why it cannot be used, of a result of ``kitten sandbox`` or ``kitten guests``."""
    if not file.is_file():
        return {}
    targets = json.loads(file.read_text())["targets"]
    return {found["target"]: found["cause"] for found in targets if found["outcome"] != "passed"}


def service_without(service: Service, missing: Mapping[str, str], console: Console) -> Service:
    """The service that goes on where these targets are missing; what that means is printed."""
    if not missing:
        return service
    for target, reason in missing.items():
        console.print(f"[red]{target} cannot be set up[/red]: {escape(reason)}")
    if not service.site.distribution.may_degrade:
        console.print("site.yaml does not say may_degrade: packages wait for these targets before users get them")
        return service
    degraded = with_optional_targets(service, missing)
    console.print(
        f"going on without {', '.join(missing)}: not required in a copy of the site, {degraded.site_argument}\n"
        f"(for commands by hand: export KITTEN_SITE={degraded.site_argument})"
    )
    return degraded


def resume_hint(missing: Mapping[str, str]) -> str:
    """The last line of a demo that went on without targets: how to go on. Empty where none is missing."""
    if not missing:
        return ""
    return (
        f"[red]{', '.join(missing)} could not be set up[/red]: run the same command again when the mirror is whole; "
        "it builds what is missing and nothing else\n"
    )
