"""``make bench``: each figure from our way and the alternative, timed in the same run; ``build/bench.json`` keeps them.

Absolute times say nothing on a shared machine; the ratio and whether it is within its bar do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import index, lab, pipeline, repo, verify
from tests.bench.figure import CHECKOUT, Benchmark
from tests.bench.runner import first_line, run_all, short, summary

BENCHMARKS: dict[str, Benchmark] = {
    **pipeline.BENCHMARKS,
    **verify.BENCHMARKS,
    **lab.BENCHMARKS,
    **index.BENCHMARKS,
    **repo.BENCHMARKS,
}
_EPILOG = """\
Each figure has a bar: the largest ratio of ours to the alternative that passes. Exit status: 0 all within their bars,
1 something is short (a table at the end says what), 2 there is no such benchmark, 130 interrupted. What was measured
until then is in the report in any case."""


def main(
    words: Sequence[str],
    benchmarks: Mapping[str, Benchmark] = BENCHMARKS,
    report: Path = CHECKOUT / "build" / "bench.json",
) -> int:
    """Run the named benchmarks, or all; the exit status."""
    parser = argparse.ArgumentParser(
        "python -m tests.bench",
        description="Time us against the alternative, both in the same run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run [default: all; --list shows them]")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and what each compares")
    parser.add_argument("--report", type=Path, default=report, help=f"where the figures go [default: {report}]")
    asked = parser.parse_args(words)
    if asked.list:
        wide = max(map(len, benchmarks))
        for name, benchmark in benchmarks.items():
            print(f"{name:{wide}}  {first_line(benchmark.__doc__ or '')}")
        return 0
    if unknown := [name for name in asked.names if name not in benchmarks]:
        print(f"bench: no benchmark {', '.join(unknown)}; choose from: {', '.join(benchmarks)}", file=sys.stderr)
        return 2
    chosen = {name: benchmarks[name] for name in asked.names or benchmarks}
    try:
        rows, interrupted = run_all(chosen, asked.report)
    except OSError as error:
        print(
            f"bench: {asked.report} cannot be written: {error.strerror}; choose another: --report FILE", file=sys.stderr
        )
        return 2
    print(f"{summary(rows)}\nreport: {asked.report}", flush=True)
    return 130 if interrupted else 1 if short(rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
