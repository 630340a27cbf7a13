"""``make clean``: show the files of this checkout and its caches with their sizes, and remove them if none is in use.

    python3 tools/clean.py [--yes]

It needs no Python environment, because it removes that too.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from workers.base import cache, cache_entries  # noqa: E402
from workers.base.errors import CannotRun  # noqa: E402

_TOOLS = (".mypy_cache", ".pytest_cache", ".ruff_cache")


@dataclass(frozen=True)
class Item:
    """One entry of the list of what can be removed."""

    path: Path
    what: str
    size: int
    remove: Callable[[], list[str]]
    """Remove it; return what could not be removed, and why."""


def main(arguments: list[str]) -> int:
    """Show, ask, remove. Return 0: removed, or nothing to remove; 1: something is left; 2: could not start."""
    parser = argparse.ArgumentParser(
        description="Show the files of this checkout and its caches with their sizes, and remove them."
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before removing")
    options = parser.parse_args(arguments)
    if running := in_use(CHECKOUT):
        print(f"clean: {running}", file=sys.stderr)
        return 2
    try:
        removable = [item for item in items(CHECKOUT) if item.size or item.path.exists()]
    except CannotRun as error:
        print(f"clean: {error}", file=sys.stderr)
        return 2
    if not removable:
        print("nothing to remove")
        return 0
    print(table(removable))
    if not options.yes:
        if not sys.stdin.isatty():
            print(
                "clean: removes nothing if it cannot ask on a terminal; to remove all: make clean YES=1",
                file=sys.stderr,
            )
            return 2
        if input("Remove all of this? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return 1
    left = [line for item in removable for line in item.remove()]
    if left:
        print("\n".join(["clean: could not remove:", *(f"  {line}" for line in left)]), file=sys.stderr)
        return 1
    print(f"removed {size_of(sum(item.size for item in removable))}")
    return 0


def items(checkout: Path) -> Iterator[Item]:
    """Yield all that can be removed; the Python environment last, so that it is there after an interrupted removal."""
    entries = cache_entries.entries()
    if cache.root().is_dir():
        for kind in sorted({entry.kind for entry in entries}):
            of_kind = [entry for entry in entries if entry.kind == kind]
            what = f"cache: {cache_entries.KINDS.get(kind, kind)}"
            size = sum(entry.size for entry in of_kind)
            yield Item(cache.root() / kind, what, size, partial(remove_entries, of_kind))
        if not entries:
            yield Item(cache.root(), "cache: its lock files", 0, lambda: remove_entries([]))
    folders = sorted((checkout / "var").glob("*"))
    what = "state: repositories, signing key, passwords, the master's database"
    yield from (folder_item(folder, what) for folder in folders)
    yield from (folder_item(checkout / name, "caches of linters and tests") for name in _TOOLS)
    yield folder_item(checkout / "build", "reports, documentation and figures of benchmarks")
    yield folder_item(checkout / ".venv", "the Python environment")


def folder_item(folder: Path, what: str) -> Item:
    """Return the entry of a folder that is removed as a whole."""

    def remove() -> list[str]:
        why = cache_entries.remove_folder(folder)
        return [why] if why else []

    return Item(folder, what, cache.disk_usage(folder) if folder.exists() else 0, remove)


def remove_entries(entries: list[cache_entries.Entry]) -> list[str]:
    """Remove entries of the cache, and its folder if it is empty then."""
    left = [f"{entry.path}: {why}" for entry in entries if (why := cache_entries.remove(entry))]
    cache_entries.tidy()
    return left


def in_use(checkout: Path) -> str:
    """Return what runs from this checkout and how to end it; empty if nothing runs."""
    for control in sorted((checkout / "var").glob("*/service/control")):
        if supervisor_answers(control):
            state = control.parent.parent
            how = "make stop" if state.name == "demo" else f"kitten down --site {state.name}"
            return f"a service runs in {state}\n  → {how}"
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) != os.getpid() and (command := command_of(process, checkout)):
            how = "make stop, or wait until it ends"
            return f"process {process.name} runs from {checkout}/.venv: {command[:100]}\n  → {how}"
    return ""


def supervisor_answers(control: Path) -> bool:
    """Return whether a supervisor listens on its control socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        folder = os.open(control.parent, os.O_PATH)
        try:
            probe.connect(f"/proc/self/fd/{folder}/{control.name}")  # its own path may be too long for a socket
        except OSError:
            return False
        finally:
            os.close(folder)
    return True


def command_of(process: Path, checkout: Path) -> str:
    """Return the command line of a process that runs a program of the checkout's Python environment; else empty."""
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        cwd = (process / "cwd").resolve()
    except OSError:
        return ""
    venv = checkout / ".venv" / "bin"
    runs = any((cwd / word).parent == venv for word in words[:2] if word)
    return " ".join(words).strip() if runs else ""


def table(entries: list[Item]) -> str:
    """Return the list of entries with their sizes, for people."""
    wide = max(len(str(item.path)) for item in entries)
    lines = [f"{size_of(item.size):>10}  {item.path!s:{wide}}  {item.what}" for item in entries]
    return "\n".join([*lines, f"{size_of(sum(item.size for item in entries)):>10}  in all"])


def size_of(size: int) -> str:
    """Return a size in MB or GB, for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (KeyboardInterrupt, EOFError):
        print("\nclean: interrupted; run make clean again to remove the rest", file=sys.stderr)
        sys.exit(130)
