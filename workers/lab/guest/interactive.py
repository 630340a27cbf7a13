"""``kitten boot``: a shell in a guest, with the guest's console on this terminal."""

from __future__ import annotations

import contextlib
import os
import selectors
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from workers.formats.rpm_payload import Entry
from workers.lab.guest import file_system, saved
from workers.lab.machine.launch import Guest

_END_KEY = b"\x1d"  # Ctrl-], as in telnet and virsh console
_SHELL = b"""console=/dev/CONSOLE
stty sane cols COLUMNS rows ROWS <"$console"
cd /root
PS1='[kitten \\W]# ' exec busybox setsid -c bash --norc -i <"$console" >"$console" 2>&1
"""
_YEAR = 365 * 24 * 3600.0


def boot(base: file_system.Base, packages: Sequence[Sequence[Entry]], logs: Path | None, *, fresh: bool = False) -> str:
    """Run a shell in a guest until it exits, the guest ends, or the user types the end key.

    If standard input is no terminal, the shell gets its lines, and exits after the last line.

    :param packages: the files of each package, for the guest's file system.
    :param fresh: boot the guest, even if a saved one exists.
    :returns: the guest's ending.
    """
    columns, rows = _size()
    variables = {b"CONSOLE": base.target.machine.console, b"COLUMNS": str(columns), b"ROWS": str(rows)}
    script = _SHELL
    for name, value in variables.items():
        script = script.replace(name, value.encode())
    with saved.start_guest(
        base, file_system.payload_archive(packages, {"shell.sh": script}), logs, fresh=fresh
    ) as running:
        running.on_console(_show)
        with _raw_terminal():
            return _forward_input(running)


def _forward_input(running: Guest) -> str:
    """Type standard input on the guest's console until the guest ends. Return its ending."""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        while not running.talk.ending:
            if not selector.select(0.1):
                continue
            data = os.read(0, 4096)
            if not data:
                running.type(b"\nexit\n")
                running.wait(lambda talk: talk.ending, _YEAR)
            elif _END_KEY in data:
                return "ended by Ctrl-]"
            else:
                running.type(data)
    return running.talk.ending


def _show(data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _size() -> tuple[int, int]:
    try:
        size = os.get_terminal_size(0)
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Send every key to the guest, also Ctrl-C, for the length of a block. Restore the terminal after it."""
    if not os.isatty(0):
        yield
        return
    click.echo("a shell in the guest; Ctrl-] ends the guest")
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        click.echo()
