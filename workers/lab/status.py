"""``kitten lab-status``: the guests on this host, how each target's guests run, saved guests and last runs."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from config.models import Site
from workers.base import cache
from workers.lab.guest import accelerator
from workers.lab.machine import leases


def show(site: Site, state: Path) -> None:
    """Print the status as tables."""
    out = Console()
    limit = leases.capacity()
    out.print(f"guests may use {limit.memory_mib} MiB and {limit.cores} cores on this host")
    for table in (_leases(), _targets(site), _saved_guests(), _runs(state)):
        if table.row_count:
            out.print(table)


def _leases() -> Table:
    table = Table(title="Guests", title_justify="left")
    for name in ("guest", "process", "MiB", "cores", "state", "duration"):
        table.add_column(name)
    now = time.time()
    for lease in leases.current():
        state = "runs" if lease.held else "waits"
        duration = _span(now - lease.since)
        table.add_row(lease.what, str(lease.pid), str(lease.memory_mib), str(lease.cores), state, duration)
    return table


def _targets(site: Site) -> Table:
    table = Table(title="Targets", title_justify="left")
    for name in ("target", "machine", "CPU", "accelerator", "reason"):
        table.add_column(name)
    for target in site.targets:
        name, reason = _known_accelerator(target.machine_arch) or ("tcg", accelerator.obstacle(target))
        machine = target.machine
        table.add_row(
            target.name,
            f"{machine.emulator} {machine.machine}",
            machine.cpu_under(name),
            name,
            reason or "KVM has not been tried yet",
        )
    return table


def _known_accelerator(arch: str) -> tuple[str, str] | None:
    answer = accelerator.answer_file(arch)
    if not answer.exists():
        return None
    known = json.loads(answer.read_text())
    return known["name"], known["reason"]


def _saved_guests() -> Table:
    table = Table(title="Saved guests", title_justify="left")
    for name in ("target", "MiB", "on disk", "last used"):
        table.add_column(name)
    for folder in sorted((cache.root() / "saved").glob("[!.]*")):
        target, size, _ = folder.name.rsplit("-", 2)
        with contextlib.suppress(FileNotFoundError):  # another process has just removed it
            on_disk = f"{(folder / 'memory').stat().st_blocks * 512 / 1e6:.0f} MB"
            table.add_row(target, size, on_disk, f"{_span(time.time() - (folder / 'state').stat().st_mtime)} ago")
    return table


def _runs(state: Path) -> Table:
    table = Table(title="Last runs without a build", title_justify="left")
    for name in ("folder", "result"):
        table.add_column(name, overflow="fold")
    for document in sorted((state / "lab").glob("*/test.json"))[-8:]:
        try:
            summary = str(json.loads(document.read_text())["summary"])
        except (OSError, ValueError, KeyError):
            summary = "cannot be read"
        table.add_row(str(document.parent), summary)
    return table


def _span(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {word}"
    return f"{max(0.0, seconds):.0f} s"
