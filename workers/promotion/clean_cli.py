"""The command ``kitten clean``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options
from workers.base.command import conclude
from workers.base.errors import CannotRun

if TYPE_CHECKING:
    from workers.repository.retention import Verdict
    from workers.results import CleanResult


@click.command()
@click.option("--dry-run/--yes", "dry", default=True, help="List what would go, or remove it.  [default: --dry-run]")
@click.option("--explain", metavar="PATH", help="Show why a folder stays or goes: a path, a URL or the end of one.")
@options.json
@options.site
@options.state
def clean(dry: bool, explain: str | None, json_file: Path | None, site_name: str, state_folder: Path | None) -> None:
    """List the builds and sources that are not needed any more, and why; with --yes, remove them.

    \b
    retention.yaml of the site says how long a folder stays. At any age, a folder stays while
      - a kept snapshot of a signed stage has packages of it (keep_published)
      - the buildroot of a target has packages of it
      - it is so young that a running or waiting build may read it: recently made, proven or reused
      - it is one of the newest builds of its package on its target
      - it is the source of a build that stays
    An unknown folder stays, too.

    A publication waits for a moment while folders are hidden. Neither a publication nor a build loses a folder that it
    reads. After a kill, nothing is half removed; run it again. The service runs it each night.
    """  # noqa: D301 - click's own mark for lines that stay as they are
    import time

    from workers.promotion import clean as work
    from workers.results import CleanResult

    if explain is not None:
        site, state = options.site_and_state(site_name, state_folder)
        for verdict in _matching(work.plan(site, state, time.time()), explain):
            click.echo(f"{verdict.found.path} {'stays' if verdict.stays else 'goes'}: {verdict.why}")
        return
    verdicts: tuple[Verdict, ...] = ()

    def cleaning() -> CleanResult:
        nonlocal verdicts
        site, state = options.site_and_state(site_name, state_folder)
        begun = time.monotonic()
        verdicts = work.plan(site, state, time.time()) if dry else work.clean(site, state)
        return _result(verdicts, dry, time.monotonic() - begun)

    def show(_: CleanResult) -> None:
        _table(verdict for verdict in verdicts if not verdict.stays)

    conclude(CleanResult, json_file, cleaning, known={"dry": dry}, show=show)


def _result(verdicts: Sequence[Verdict], dry: bool, seconds: float) -> CleanResult:
    from workers.results import CleanResult, StoreFolder

    going = [verdict for verdict in verdicts if not verdict.stays]
    staying = [verdict for verdict in verdicts if verdict.stays]
    folders = tuple(
        StoreFolder(path=f.path, kind=f.kind, what=f.nevr or f.package, size=f.size, why=verdict.why)
        for verdict in going
        for f in (verdict.found,)
    )
    if not going:
        summary = f"{'nothing would go' if dry else 'nothing to remove'}; {_many(staying)} stay"
    elif dry:
        summary = f"{_many(going)} would go, {_many(staying)} stay; remove them: kitten clean --yes"
    else:
        summary = f"removed {_many(going)}; {_many(staying)} stay"
    return CleanResult(
        summary=summary,
        seconds=seconds,
        dry=dry,
        folders=folders,
        size=sum(folder.size for folder in folders),
        staying=len(staying),
        staying_size=sum(verdict.found.size for verdict in staying),
    )


def _matching(verdicts: Iterable[Verdict], path: str) -> list[Verdict]:
    """The folders that match a path from the command line.

    :raises CannotRun: if no folder matches.
    """
    asked = path.rstrip("/")
    found = [
        v
        for v in verdicts
        if asked and (asked == v.found.path or asked.endswith(f"/{v.found.path}") or v.found.path.endswith(asked))
    ]
    if not found:
        raise CannotRun(f"the artifact store has no folder {path}", "kitten clean lists what would go")
    return found


def _table(verdicts: Iterable[Verdict]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=240)  # a log has no width
    table = Table("folder", "what", "package", "MB", "why", box=None)
    for one in verdicts:
        size = f"{one.found.size / 1e6:.1f}"
        what = escape(one.found.nevr or one.found.package)
        table.add_row(escape(ascii(one.found.path)[1:-1]), one.found.kind, what, size, escape(one.why))
    if table.row_count:
        console.print(table)


def _many(verdicts: Iterable[Verdict]) -> str:
    sizes = [verdict.found.size for verdict in verdicts]
    return f"{len(sizes)} {'folder' if len(sizes) == 1 else 'folders'} ({sum(sizes) / 1e6:.1f} MB)"
