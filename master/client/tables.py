"""The tables of packages and suites that ``kitten demo`` and ``kitten status`` show in a terminal."""

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
    """Yield a function that shows the cells: on a terminal in a live table, in a log one line for each changed cell."""
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
    """Return the table package × target with the state of each, and below it the suites that need no package."""
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
    """Return the overview, and below it how many cells are done and the time that is left.

    :param workers: number of builds that can run at a time.
    """
    left = seconds_left(cells, workers)
    done = sum(cell.finished for cell in cells.values())
    foot = f"{done} of {len(cells)} done" + (f", about {clock(left)} left" if left else "")
    return Group(overview(service, packages, cells), Text(foot))


def _text(cell: Cell | None) -> Text:
    if cell is None:
        return Text("not built here", style="dim")
    words = cell.words if cell.state != "nothing" else "—"
    return Text(
        words[:40] + (f" {cell.seconds:.0f} s" if cell.state == "running" else ""), style=_STYLE.get(cell.state, "")
    )


def result_table(service: Service, packages: Sequence[SourcePackage], cells: Mapping[tuple[str, str], Cell]) -> Table:
    """Return the table package × target, and for each: built, verified, tested, published."""
    table = Table(title=f"{service.site.distribution.title}: result")
    table.add_column("package")
    table.add_column("target")
    for what in DONE:
        table.add_column(what, justify="center")
    table.add_column("s", justify="right")
    if has_reasons := any(cell.state in ("failed", "signed") for (row, _), cell in cells.items() if row != LAB_ROW):
        table.add_column("reason", overflow="ellipsis", no_wrap=True, max_width=60)
    for package in packages:
        for target in service.site.targets_of(package):
            cell = cells.get((package.name, target.name), Cell())
            why = [Text("" if cell.state == "published" else cell.words)] if has_reasons else []
            marks = [Text("yes", style="green") if s in cell.done else Text("no", style="red") for s in DONE]
            table.add_row(package.name, target.name, *marks, f"{cell.seconds:.0f}" if cell.seconds else "", *why)
        table.add_section()
    return table


def lab_table(runs: Mapping[str, Sequence[str]], cells: Mapping[tuple[str, str], Cell]) -> Table:
    """Return the table of the suites that ran without a package on each target, and their results."""
    table = Table("target", "suites", "result", title="suites of each target")
    table.add_column("s", justify="right")
    for target, suites in runs.items():
        cell = cells.get((LAB_ROW, target), Cell())
        style = "yellow" if cell.warned else _STYLE.get(cell.state, "")
        table.add_row(target, ", ".join(suites), Text(cell.words, style=style), f"{cell.seconds:.0f}")
    return table


def clock(seconds: float) -> str:
    """Return a duration as text: ``2 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def terminal() -> Console:
    """Return a console that, in a log, is wide enough for each row of a table."""
    return Console() if sys.stdout.isatty() else Console(width=140)
