"""``make bench``: each figure from our way and the alternative, timed in the same run; ``build/bench.json`` keeps them.

    python -m tests.bench [NAME …]

Absolute times say nothing on a shared machine; the ratio and whether it is within its bar do.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from tests.bench import index, lab, pipeline, repo, verify
from tests.bench.figure import CHECKOUT, Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    **pipeline.BENCHMARKS,
    **verify.BENCHMARKS,
    **lab.BENCHMARKS,
    **index.BENCHMARKS,
    **repo.BENCHMARKS,
}


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all; 1 when a bar is not held."""
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    figures = []
    for name in names or BENCHMARKS:
        for figure in BENCHMARKS[name]():
            figures.append(figure)
            print(figure, flush=True)
    report = CHECKOUT / "build" / "bench.json"
    report.parent.mkdir(exist_ok=True)
    rows = [{**asdict(figure), "ratio": figure.ratio, "held": figure.held} for figure in figures]
    report.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(figure.held for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
