"""``make clean``: show what this checkout and its caches occupy, and remove it. Nothing that is in use goes.

    python3 tools/clean.py [--yes]

It needs no Python environment: that is one of the things it removes.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from workers.base import cache, cache_entries  # noqa: E402
from workers.base.errors import CannotRun  # noqa: E402

_TOOLS = (".mypy_cache", ".pytest_cache", ".ruff_cache")


@dataclass(frozen=True)
class Item:
    """One line of what is offered for removal."""

    path: Path
    what: str
    size: int
    remove: Callable[[], list[str]]
    """Removes it; what stays, and why."""


def main(words: list[str]) -> int:
    """Show, ask, remove. 0: removed, or nothing to remove; 1: something stays; 2: nothing was tried."""
    parser = argparse.ArgumentParser(description="Show what this checkout and its caches occupy, and remove it.")
    parser.add_argument("--yes", action="store_true", help="remove it without a question")
    asked = parser.parse_args(words)
    if running := in_use(CHECKOUT):
        print(f"clean: {running}", file=sys.stderr)
        return 2
    try:
        found = [item for item in items(CHECKOUT) if item.size or item.path.exists()]
    except CannotRun as error:
        print(f"clean: {error}", file=sys.stderr)
        return 2
    if not found:
        print("nothing to remove")
        return 0
    print(table(found))
    if not asked.yes:
        if not sys.stdin.isatty():
            print(
                "clean: nothing is removed without a question; to remove all of it: make clean YES=1", file=sys.stderr
            )
            return 2
        if input("Remove all of it? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing is removed")
            return 1
    stays = [line for item in found for line in item.remove()]
    if stays:
        print("\n".join(["clean: some of it stays:", *(f"  {line}" for line in stays)]), file=sys.stderr)
        return 1
    print(f"removed {size_of(sum(item.size for item in found))}")
    return 0


def items(checkout: Path) -> Iterator[Item]:
    """All that may go; the Python environment last, so that an interrupted removal can be repeated with it."""
    entries = cache_entries.entries()
    if cache.root().is_dir():
        for kind in sorted({entry.kind for entry in entries}):
            mine = [entry for entry in entries if entry.kind == kind]
            what = f"cache: {cache_entries.KINDS.get(kind, kind)}"
            size = sum(entry.size for entry in mine)
            yield Item(cache.root() / kind, what, size, lambda mine=mine: remove_entries(mine))  # type: ignore[misc]
        if not entries:
            yield Item(cache.root(), "cache: its lock files", 0, lambda: remove_entries([]))
    folders = sorted((checkout / "var").glob("*"))
    what = "state: repositories, signing key, passwords, the master's database"
    yield from (folder_item(folder, what) for folder in folders)
    yield from (folder_item(checkout / name, "what linters and tests remember") for name in _TOOLS)
    yield folder_item(checkout / "build", "figures of the benchmarks")
    yield folder_item(checkout / ".venv", "the Python environment")


def folder_item(folder: Path, what: str) -> Item:
    """A folder that goes as a whole."""

    def remove() -> list[str]:
        why = cache_entries.remove_folder(folder)
        return [why] if why else []

    return Item(folder, what, cache.disk_usage(folder) if folder.exists() else 0, remove)


def remove_entries(entries: list[cache_entries.Entry]) -> list[str]:
    """Remove entries of the cache, and its folder when nothing is left in it."""
    stays = [f"{entry.path}: {why}" for entry in entries if (why := cache_entries.remove(entry))]
    cache_entries.tidy()
    return stays


def in_use(checkout: Path) -> str:
    """What runs from this checkout, and how to end it; nothing when nothing runs."""
    for control in sorted((checkout / "var").glob("*/service/control")):
        if answers(control):
            state = control.parent.parent
            how = "make stop" if state.name == "demo" else f"kitten down --site {state.name}"
            return f"a service runs in {state}\n  → {how}"
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) != os.getpid() and (words := command_of(process, checkout)):
            how = "make stop, or wait for its end"
            return f"process {process.name} runs from {checkout}/.venv: {words[:100]}\n  → {how}"
    return ""


def answers(control: Path) -> bool:
    """Whether a supervisor listens on its control socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        folder = os.open(control.parent, os.O_PATH)
        try:
            probe.connect(f"/proc/self/fd/{folder}/{control.name}")  # whatever the length of its path
        except OSError:
            return False
        finally:
            os.close(folder)
    return True


def command_of(process: Path, checkout: Path) -> str:
    """The command line of a process that runs a program of the checkout's Python environment; else nothing."""
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        here = (process / "cwd").resolve()
    except OSError:
        return ""
    venv = checkout / ".venv" / "bin"
    runs = any((here / word).parent == venv for word in words[:2] if word)
    return " ".join(words).strip() if runs else ""


def table(found: list[Item]) -> str:
    """What would go, for people."""
    wide = max(len(str(item.path)) for item in found)
    lines = [f"{size_of(item.size):>10}  {item.path!s:{wide}}  {item.what}" for item in found]
    return "\n".join([*lines, f"{size_of(sum(item.size for item in found)):>10}  in all"])


def size_of(size: int) -> str:
    """A size for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, EOFError):
        print("\nclean: interrupted; what is left goes with the next make clean", file=sys.stderr)
        sys.exit(130)
