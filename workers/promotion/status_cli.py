"""The command ``kitten repo-status``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options
from workers.repository.command import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.promotion.status import StageStatus


@click.command("repo-status")
@click.option("--json", "as_json", is_flag=True, help="Print the status as a JSON list.")
@options.site
@options.state
def repo_status(as_json: bool, site_name: str, state_folder: Path | None) -> None:
    """Show each signed stage: its snapshot, the packages that wait for it and for a target, and what slow targets owe.

    This changes nothing. kitten gate shows what the gate says about the packages that wait.
    """
    from workers.promotion.status import status

    found = status(*options.site_and_state(site_name, state_folder))
    if as_json:
        import json

        click.echo(json.dumps([each.model_dump(mode="json") for each in found], indent=1))
    else:
        _print(found)


def _print(stages: Sequence[StageStatus]) -> None:
    from rich.table import Table

    terminal = console()
    targets = list(dict.fromkeys(target for each in stages for target in each.packages))
    table = Table("stage", "snapshot", "made", "newest change", "can go back to", *targets, box=None)
    for each in stages:
        kept = f"{each.kept[0]} to {each.kept[-1]}" if len(each.kept) > 1 else "nothing"
        counts = [str(each.packages.get(target, 0)) for target in targets]
        table.add_row(each.stage, str(each.snapshot) if each.snapshot else "none", each.made, each.what, kept, *counts)
    terminal.print(table)
    for each in stages:
        for wait in each.waiting:
            gate = f"is on every required target; see kitten gate {wait.package}"
            why = f"waits for {', '.join(wait.lacks)}" if wait.lacks else gate
            click.echo(f"before {each.stage}: {wait.nevr} on {', '.join(wait.targets)}: {why}")
        for line in each.owed:
            click.echo(f"owed to {each.stage}: {line}")
