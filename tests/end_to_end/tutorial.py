"""The commands of the tutorial, and a checkout in which a test can run them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent
PAGE = CHECKOUT / "docs" / "tutorial" / "first-package.md"


def commands(page: str) -> list[str]:
    """Return the commands of a page: the lines after a ``$`` in blocks of the language ``console``."""
    blocks = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def checkout_with_state(folder: Path, state: Path) -> Path:
    """Make a folder that looks like this checkout, but whose ``var/demo`` is another state folder."""
    folder.mkdir()
    for entry in CHECKOUT.iterdir():
        if entry.name not in ("var", ".git"):
            (folder / entry.name).symlink_to(entry)
    (folder / "var").mkdir()
    (folder / "var" / "demo").symlink_to(state)
    return folder


def run(lines: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run lines in one shell, which stops at the first error; its trace (``+ …``) is in the output."""
    author = {f"GIT_{who}_{key}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    return subprocess.run(
        ["bash", "-c", "\n".join(["set -ex", *lines])],
        cwd=folder,
        env={**environment, **author},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3000,
        check=False,
    )
