"""``kitten cache``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from workers.base.errors import CannotRun, CheckFailed

if TYPE_CHECKING:
    from workers.base.cache_entries import Entry


@click.command()
@click.option(
    "--remove", "kinds", metavar="KIND", multiple=True, help="Remove the entries of a kind; may be given again."
)
@click.option("--remove-all", is_flag=True, help="Remove the entries of all kinds.")
@click.option(
    "--unused-days", metavar="N", type=click.FloatRange(min=0), help="Only entries that were not used for N days."
)
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
def cache(kinds: tuple[str, ...], remove_all: bool, unused_days: float | None, as_json: bool) -> None:
    """List or remove the entries of this host's cache.

    Without --remove and --remove-all the command only lists. An entry that was removed is made or fetched again when a
    command needs it. An entry that a command uses now stays; then the exit status is 1. The folder is $KITTEN_CACHE,
    else kitten-ci in $XDG_CACHE_HOME or ~/.cache.

    Artifacts and published repositories are not in the cache. `kitten clean` removes those that retention.yaml does not
    keep.
    """
    from workers.base import cache_entries

    if kinds and remove_all:
        raise CannotRun("--remove and --remove-all are given", "give one of them")
    found = [
        entry
        for entry in cache_entries.entries(kinds)
        if unused_days is None or cache_entries.is_unused(entry, unused_days)
    ]
    if not kinds and not remove_all:
        _json(found) if as_json else _table(found)
        return
    stays = [(entry, why) for entry in found if (why := cache_entries.remove(entry))]
    if not kinds and unused_days is None:
        cache_entries.tidy()
    gone = [entry for entry in found if entry not in [stayed for stayed, _ in stays]]
    if as_json:
        _json(gone)
    else:
        click.echo(f"removed {len(gone)} entries, {_mb(gone)}, from {cache_entries.checked_root()}")
    if stays:
        lines = "\n".join(f"  {entry.kind}/{entry.name}: {why}" for entry, why in stays)
        raise CheckFailed(f"{len(stays)} entries stay, {_mb([entry for entry, _ in stays])}:\n{lines}")


def _json(found: Sequence[Entry]) -> None:
    import json
    from dataclasses import asdict

    from workers.base import cache_entries

    rows = [{**asdict(entry), "path": str(entry.path)} for entry in found]
    json.dump({"root": str(cache_entries.checked_root()), "entries": rows}, sys.stdout, indent=1)
    click.echo()


def _table(found: Sequence[Entry]) -> None:
    import time

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from workers.base import cache_entries

    table = Table("kind", "entries", "MB", "last used", "", "what it is", box=None)
    for kind in sorted({entry.kind for entry in found}, key=lambda kind: -sum(e.size for e in found if e.kind == kind)):
        mine = [entry for entry in found if entry.kind == kind]
        days = (time.time() - max(entry.used for entry in mine)) / 86400
        used, left = sum(bool(entry.user) for entry in mine), sum(entry.leftover for entry in mine)
        notes = ", ".join([f"{used} in use"] * bool(used) + [f"{left} left by a killed command"] * bool(left))
        size = f"{sum(entry.size for entry in mine) / 1e6:,.1f}"
        row = (escape(kind), str(len(mine)), size, f"{days:.0f} days ago" if days >= 1 else "today", notes)
        table.add_row(*row, cache_entries.KINDS.get(kind, ""))
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)  # in a log, do not wrap lines at 80
    if table.row_count:
        console.print(table)
    total = f"{cache_entries.checked_root()}: {len(found)} entries, {_mb(found)}"
    click.echo(f"{total}; remove them: kitten cache --remove KIND, --remove-all")


def _mb(found: Sequence[Entry]) -> str:
    return f"{sum(entry.size for entry in found) / 1e6:,.1f} MB"
