"""What a benchmark is: one comparison of our way with the alternative, both from the same run."""

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
    """One comparison; the bar is the largest ratio that holds."""

    name: str
    ours: float
    other: float
    other_is: str
    bar: float
    unit: str = "s"

    @property
    def ratio(self) -> float:
        """Ours over the other."""
        return self.ours / self.other

    @property
    def held(self) -> bool:
        """Whether the ratio is within its bar."""
        return self.ratio <= self.bar

    def __str__(self) -> str:
        verdict = "held" if self.held else "NOT HELD"
        return (
            f"{self.name}: ours {self.ours:.2f} {self.unit}, {self.other_is}: {self.other:.2f} {self.unit}, "
            f"ratio {self.ratio:.3f}, bar {self.bar:.2f}: {verdict}"
        )


Benchmark = Callable[[], Iterator[Figure]]


def kitten(site: str, state: Path, *arguments: str) -> None:
    """Run a command of ours that must succeed."""
    environment = {**os.environ, "KITTEN_SITE": site, "KITTEN_STATE": str(state)}
    done = subprocess.run([KITTEN, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"kitten {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
