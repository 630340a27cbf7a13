"""Run benchmarks one after the other: each figure is written at once, and a failure does not stop the others."""

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
    """In one line."""


Row = Figure | Failure


def run_all(benchmarks: Mapping[str, Benchmark], report: Path) -> tuple[list[Row], bool]:
    """Run the benchmarks; return their rows, and whether they were interrupted.

    :param report: JSON file, complete at each moment, with every row until then.
    :raises OSError: the report cannot be written at the start. If the disk becomes full later, the run goes on.
    """
    rows: list[Row] = []
    write(rows, report)

    def add(row: Row) -> None:
        rows.append(row)
        try:
            write(rows, report)
        except OSError as error:
            print(f"{report} is not updated: {error}", flush=True)

    for name, benchmark in benchmarks.items():
        print(f"--- {name}: {first_line(benchmark.__doc__ or '')}", flush=True)
        begun, before = time.monotonic(), len(rows)
        try:
            for figure in benchmark():
                add(figure)
                print(figure, flush=True)
            if len(rows) == before:
                print(f"{name}: this host gives no figure", flush=True)
        except KeyboardInterrupt:
            add(Failure(name, "interrupted"))
            return rows, True
        except (Exception, SystemExit) as error:
            failure = Failure(name, one_line(error))
            add(failure)
            print(f"{name}: {failure.error}", flush=True)
        print(f"    {name} took {time.monotonic() - begun:.0f} s", flush=True)
    return rows, False


def write(rows: Sequence[Row], report: Path) -> None:
    """Write the report by one rename."""
    report.parent.mkdir(parents=True, exist_ok=True)
    partial = report.with_name(f".{report.name}.{os.getpid()}")
    try:
        partial.write_text(json.dumps([_record(row) for row in rows], indent=1) + "\n")
        partial.replace(report)
    finally:
        partial.unlink(missing_ok=True)


def failures(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that failed: figures above their limit, and errors."""
    return [row for row in rows if isinstance(row, Failure) or not row.passed]


def summary(rows: Sequence[Row]) -> str:
    """Return the table of what failed: name, ratio and limit, or name and error."""
    failed = failures(rows)
    figures = sum(isinstance(row, Figure) for row in rows)
    if not failed:
        return f"{figures} figures, all passed"
    table = [("name", "ratio", "limit")]
    table += [(row.name, f"{row.ratio:.3f}", f"{row.limit:.3f}") for row in failed if isinstance(row, Figure)]
    width = max(len(row.name) for row in failed)
    lines = [f"{figures} figures; {len(failed)} failed:"]
    if len(table) > 1:
        lines += [f"  {name:{width}}  {ratio:>9}  {limit:>9}" for name, ratio, limit in table]
    lines += [f"  {row.name:{width}}  {row.error}" for row in failed if isinstance(row, Failure)]
    return "\n".join(lines)


def one_line(error: BaseException) -> str:
    """Return the first line of an error with text, with the class of the error unless it is SystemExit."""
    text = first_line(str(error))
    return text if isinstance(error, SystemExit) and text else f"{type(error).__name__}: {text}".removesuffix(": ")


def first_line(text: str) -> str:
    """Return the first line of a text that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _record(row: Row) -> dict[str, object]:
    return {**asdict(row), "ratio": row.ratio, "passed": row.passed} if isinstance(row, Figure) else asdict(row)
