"""``make bench``: time kitten and the alternatives in the same run; write the figures to ``build/bench.json``.

On a shared machine, absolute times have no meaning. What counts is the ratio, and whether it is within its limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import index, lab, pipeline, repo, verify
from tests.bench.figure import CHECKOUT, Benchmark
from tests.bench.runner import failures, first_line, run_all, summary

BENCHMARKS: dict[str, Benchmark] = {
    **pipeline.BENCHMARKS,
    **verify.BENCHMARKS,
    **lab.BENCHMARKS,
    **index.BENCHMARKS,
    **repo.BENCHMARKS,
}
_EPILOG = """\
Each figure has a limit: the largest ratio of kitten to the alternative that passes. Exit status: 0 all passed, 1 a
figure or benchmark failed (a table at the end lists them), 2 unknown benchmark or report not writable, 130 interrupted.
The report always has the figures that were measured."""


def main(
    arguments: Sequence[str],
    benchmarks: Mapping[str, Benchmark] = BENCHMARKS,
    report: Path = CHECKOUT / "build" / "bench.json",
) -> int:
    """Run the named benchmarks, or all; return the exit status."""
    parser = argparse.ArgumentParser(
        "python -m tests.bench",
        description="Time kitten against the alternatives, in the same run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run [default: all; --list shows them]")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and what each compares")
    parser.add_argument("--report", type=Path, default=report, help=f"JSON file for the figures [default: {report}]")
    options = parser.parse_args(arguments)
    if options.list:
        width = max(map(len, benchmarks))
        for name, benchmark in benchmarks.items():
            print(f"{name:{width}}  {first_line(benchmark.__doc__ or '')}")
        return 0
    if unknown := [name for name in options.names if name not in benchmarks]:
        print(f"bench: unknown benchmark {', '.join(unknown)}; choose from: {', '.join(benchmarks)}", file=sys.stderr)
        return 2
    chosen = {name: benchmarks[name] for name in options.names or benchmarks}
    try:
        rows, interrupted = run_all(chosen, options.report)
    except OSError as error:
        print(
            f"bench: {options.report} cannot be written: {error.strerror}; choose another file: --report FILE",
            file=sys.stderr,
        )
        return 2
    print(f"{summary(rows)}\nreport: {options.report}", flush=True)
    return 130 if interrupted else 1 if failures(rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
