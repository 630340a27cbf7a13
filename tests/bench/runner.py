"""Run benchmarks one after the other: each figure is kept as it comes, and one that fails stops none of the others."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.figure import Benchmark, Figure


@dataclass(frozen=True)
class Failure:
    """A benchmark that ended before its last figure."""

    name: str
    error: str
    """One line."""


Row = Figure | Failure


def run_all(benchmarks: Mapping[str, Benchmark], report: Path) -> tuple[list[Row], bool]:
    """Run the benchmarks; what came of them, and whether an interrupt ended them early.

    :param report: JSON file, whole at each moment, with every row so far.
    :raises OSError: when it cannot be written at all. Should the disk become full later, the run goes on: its rows are printed.
    """
    rows: list[Row] = []
    write(rows, report)

    def keep(row: Row) -> None:
        rows.append(row)
        try:
            write(rows, report)
        except OSError as error:
            print(f"{report} stays as it was: {error}", flush=True)

    for name, benchmark in benchmarks.items():
        print(f"--- {name}: {first_line(benchmark.__doc__ or '')}", flush=True)
        begun, before = time.monotonic(), len(rows)
        try:
            for figure in benchmark():
                keep(figure)
                print(figure, flush=True)
            if len(rows) == before:
                print(f"{name}: no figure on this host", flush=True)
        except KeyboardInterrupt:
            keep(Failure(name, "interrupted"))
            return rows, True
        except (Exception, SystemExit) as error:
            failure = Failure(name, one_line(error))
            keep(failure)
            print(f"{name}: {failure.error}", flush=True)
        print(f"    {name} took {time.monotonic() - begun:.0f} s", flush=True)
    return rows, False


def write(rows: Sequence[Row], report: Path) -> None:
    """Write the report in one rename."""
    report.parent.mkdir(parents=True, exist_ok=True)
    partial = report.with_name(f".{report.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps([_record(row) for row in rows], indent=1) + "\n")
        partial.replace(report)
    finally:
        partial.unlink(missing_ok=True)


def short(rows: Sequence[Row]) -> list[Row]:
    """The rows that are not as they should be: a bar missed, an error."""
    return [row for row in rows if isinstance(row, Failure) or not row.held]


def summary(rows: Sequence[Row]) -> str:
    """What is short, as a table: name, ratio, bar; or name and error."""
    missing = short(rows)
    figures = sum(isinstance(row, Figure) for row in rows)
    if not missing:
        return f"{figures} figures, all within their bars"
    table = [("name", "ratio", "bar")]
    table += [(row.name, f"{row.ratio:.3f}", f"{row.bar:.3f}") for row in missing if isinstance(row, Figure)]
    wide = max(len(row.name) for row in missing)
    lines = [f"{figures} figures; {len(missing)} short:"]
    if len(table) > 1:
        lines += [f"  {name:{wide}}  {ratio:>9}  {bar:>9}" for name, ratio, bar in table]
    lines += [f"  {row.name:{wide}}  {row.error}" for row in missing if isinstance(row, Failure)]
    return "\n".join(lines)


def one_line(error: BaseException) -> str:
    """The first line of an error that says something, with its kind where that is not plain from the words."""
    words = first_line(str(error))
    return words if isinstance(error, SystemExit) and words else f"{type(error).__name__}: {words}".removesuffix(": ")


def first_line(text: str) -> str:
    """The first line of a text that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _record(row: Row) -> dict[str, object]:
    return {**asdict(row), "ratio": row.ratio, "held": row.held} if isinstance(row, Figure) else asdict(row)
