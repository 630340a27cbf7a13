"""A figure of a benchmark: the comparison of kitten with an alternative, both from the same run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
KITTEN = Path(sys.executable).parent / "kitten"


@dataclass(frozen=True)
class Figure:
    """One comparison; ``limit`` is the largest ratio that passes."""

    name: str
    ours: float
    other: float
    other_is: str
    limit: float
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """The figure of kitten divided by that of the alternative."""
        return self.ours / self.other

    @property
    def passed(self) -> bool:
        """Whether the ratio is within its limit."""
        return self.ratio <= self.limit

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        return (
            f"{self.name}: kitten {self.ours:.2f} {self.unit}, {self.other_is}: {self.other:.2f} {self.unit}, "
            f"ratio {self.ratio:.3f}, limit {self.limit:.2f}: {verdict}"
        )


Benchmark = Callable[[], Iterator[Figure]]


def kitten(site: str, state: Path, *arguments: str) -> None:
    """Run a kitten command that must succeed.

    :raises SystemExit: it fails; with the end of its output.
    """
    environment = {**os.environ, "KITTEN_SITE": site, "KITTEN_STATE": str(state)}
    done = subprocess.run([KITTEN, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"kitten {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
