"""What a terminal shows of packages and suites: the tables of ``kitten demo`` and ``kitten status``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from config.models import SourcePackage
from master.client.progress import LAB_ROW, seconds_left
from master.service.service import Service
from master.status import DONE, Cell

_STYLE = {
    "published": "green",
    "failed": "red",
    "running": "cyan",
    "waiting": "yellow",
    "promoting": "cyan",
    "signed": "yellow",
    "passed": "green",
}


@contextmanager
def display(console: Console) -> Iterator[Callable[[Group | Text, Mapping[tuple[str, str], Cell]], None]]:
    """A live table on a terminal; in a log, one line for each cell that changed."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=2, transient=True) as live:
            yield lambda picture, _cells: live.update(picture)
        return
    last: dict[tuple[str, str], tuple[str, str]] = {}

    def lines(picture: Group | Text, cells: Mapping[tuple[str, str], Cell]) -> None:
        if isinstance(picture, Text):
            console.print(picture)
        for (package, target), cell in cells.items():
            now = (cell.state, cell.words)
            if now != last.get((package, target)) and cell.state != "nothing":
                console.print(f"{time.strftime('%H:%M:%S')} {package} {target}: {cell.words}", highlight=False)
                last[package, target] = now

    yield lines


def overview(service: Service, packages: Sequence[SourcePackage], cells: Mapping[tuple[str, str], Cell]) -> Table:
    """Package × target, each with what it is doing, and below what the suites do that need no package."""
    table = Table(title=service.site.distribution.title)
    table.add_column("package")
    targets = [t.name for t in service.site.targets]
    for target in targets:
        table.add_column(target)
    for name in [*(package.name for package in packages), *([LAB_ROW] if any(r == LAB_ROW for r, _ in cells) else [])]:
        table.add_row(name, *(_text(cells.get((name, target))) for target in targets))
    return table


def under_way(
    service: Service, packages: Sequence[SourcePackage], cells: Mapping[tuple[str, str], Cell], workers: int
) -> Group:
    """The overview, and below it how much is done and how long the rest may take.

    :param workers: builds that can run at a time.
    """
    left = seconds_left(cells, workers)
    done = sum(cell.finished for cell in cells.values())
    foot = f"{done} of {len(cells)} done" + (f", about {clock(left)} left" if left else "")
    return Group(overview(service, packages, cells), Text(foot))


def _text(cell: Cell | None) -> Text:
    if cell is None:
        return Text("not here", style="dim")
    words = cell.words if cell.state != "nothing" else "—"
    return Text(
        words[:40] + (f" {cell.seconds:.0f} s" if cell.state == "running" else ""), style=_STYLE.get(cell.state, "")
    )


def result_table(service: Service, packages: Sequence[SourcePackage], cells: Mapping[tuple[str, str], Cell]) -> Table:
    """Package × target, and for each: built, verified, tested, published."""
    table = Table(title=f"{service.site.distribution.title}: what holds")
    table.add_column("package")
    table.add_column("target")
    for what in DONE:
        table.add_column(what, justify="center")
    table.add_column("s", justify="right")
    if explains := any(cell.state in ("failed", "signed") for (row, _), cell in cells.items() if row != LAB_ROW):
        table.add_column("why not", overflow="ellipsis", no_wrap=True, max_width=60)
    for package in packages:
        for target in service.site.targets_of(package):
            cell = cells.get((package.name, target.name), Cell())
            why = [Text("" if cell.state == "published" else cell.words)] if explains else []
            marks = [Text("yes", style="green") if s in cell.done else Text("no", style="red") for s in DONE]
            table.add_row(package.name, target.name, *marks, f"{cell.seconds:.0f}" if cell.seconds else "", *why)
        table.add_section()
    return table


def lab_table(runs: Mapping[str, Sequence[str]], cells: Mapping[tuple[str, str], Cell]) -> Table:
    """Target by target: the suites that ran without a package, and what they said."""
    table = Table("target", "suites", "what they said", title="what each target promises")
    table.add_column("s", justify="right")
    for target, suites in runs.items():
        cell = cells.get((LAB_ROW, target), Cell())
        style = "yellow" if cell.warned else _STYLE.get(cell.state, "")
        table.add_row(target, ", ".join(suites), Text(cell.words, style=style), f"{cell.seconds:.0f}")
    return table


def clock(seconds: float) -> str:
    """``2 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def terminal() -> Console:
    """Wide enough in a log that no row of a table is folded."""
    return Console() if sys.stdout.isatty() else Console(width=140)
