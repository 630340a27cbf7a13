"""A program that publishes unsigned packages in a folder with one repository. It is a module alone because it is timed.

    python -m tests.bench.add FOLDER PACKAGE …

It does what ``kitten publish`` does between its gate and its signatures, and imports only what that needs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from workers.repository import index
from workers.repository.snapshot import Snapshots

TOP, REPOSITORY = "10-bench", "os"


def add(root: Path, packages: list[Path]) -> None:
    """Publish packages in one publication."""
    snapshots = Snapshots(root, TOP)
    with snapshots.lock(), snapshots.draft((REPOSITORY,)) as draft:
        for rpm in packages:
            draft.add(index.catalogue_entry(REPOSITORY, index.describe(rpm, f"Packages/{rpm.name}")), rpm)
        draft.finish("bench", lambda _repomd: None)


if __name__ == "__main__":
    add(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
