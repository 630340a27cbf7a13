"""GnuPG and its agent, which has the key while a batch is signed.

This module starts and ends the agent. If this process is killed, the agent ends within seconds: it watches a program
that dies with this process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from workers.base.errors import CannotRun
from workers.base.run import PIPE, CommandFailed, Completed, pipe_of, require, run, start_program

_LOOKS, _LOOK_SECONDS = 25, 0.2  # how often and for how long to wait for the end of an agent
_SOCKET_PATH_LIMIT = 106  # sun_path of unix(7) has 108 bytes; libassuan leaves room for two zero bytes


@contextlib.contextmanager
def short_home(home: Path) -> Iterator[Path]:
    """Yield a path to a GnuPG home that is short enough for the agent's sockets, which are in the home."""
    home = home.absolute()
    if len(os.fsencode(home / "S.gpg-agent.browser")) <= _SOCKET_PATH_LIMIT:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="kitten-gpg-") as folder:
        short = Path(folder, "home")
        short.symlink_to(home)
        yield short


@contextlib.contextmanager
def agent(home: Path) -> Iterator[Path]:
    """Run the agent of a home for the length of a block; yield the path of its socket.

    :raises CannotRun: the agent is not installed or does not start.
    """
    conf: list[str | Path] = [require("gpgconf", "gnupg"), "--homedir", home]
    # In the home, or below /run/user if that exists; only GnuPG knows its name there.
    listening = Path(run([*conf, "--list-dirs", "agent-socket"]).output.strip())
    _end(listening)  # the agent of a killed call, which may end at any moment
    argv: list[str | Path] = [require("gpg-agent", "gnupg"), "--homedir", home, "--allow-preset-passphrase"]
    # The agent checks every few seconds whether this program still runs, and ends if it does not.
    argv += ["--daemon", "--", "sh", "-c", "echo ready; exec sleep infinity"]
    # The agent's messages go to a file: in one pipe, a message and "ready" could be in one line.
    with tempfile.TemporaryFile() as messages, start_program(argv, stdout=PIPE, stderr=messages) as process:
        if pipe_of(process.stdout).readline() != b"ready\n":
            messages.seek(0)
            lines = messages.read().decode(errors="replace").strip().splitlines()
            raise CannotRun(f"gpg-agent did not start: {lines[-1] if lines else 'it printed nothing'}", f"see {home}")
        try:
            yield listening
        finally:
            _end(listening)
            run([*conf, "--remove-socketdir"], check=False)


def ask(listening: Path, *commands: str) -> list[str]:
    """Send commands to the agent and return the last line of each answer: OK or ERR.

    Secrets go through this socket, because every user of the host can read command lines.
    """
    answers = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(listening))
        with connection.makefile("rwb", buffering=0) as stream:
            stream.readline()  # its greeting
            for command in commands:
                stream.write(f"{command}\n".encode())
                while not (line := stream.readline().decode(errors="replace").strip()).startswith(("OK", "ERR")):
                    if not line:
                        raise CannotRun("gpg-agent ended in the middle of its work", "run it again")
                    if line.startswith("INQUIRE"):
                        stream.write(b"END\n")
                answers.append(line)
    return answers


def _end(listening: Path) -> None:
    """End the agent of a socket, if it runs, and wait for its end: before that, the next agent cannot start."""
    with contextlib.suppress(OSError, ValueError, IndexError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(listening))
        with connection.makefile("rwb", buffering=0) as stream:
            stream.readline()  # its greeting
            stream.write(b"GETINFO pid\n")
            process = os.pidfd_open(int(stream.readline().split()[1]))
            stream.readline()  # OK
            stream.write(b"KILLAGENT\n")
            stream.readline()
        connection.close()
        # An agent that saw KILLAGENT while this connection was open checks again only after some seconds.
        for _ in range(_LOOKS):
            if select.select([process], [], [], _LOOK_SECONDS)[0]:
                break
            signal.pidfd_send_signal(process, signal.SIGTERM)
        else:
            signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)


def gpg(home: Path, *argv: str | Path) -> Completed:
    """Run gpg on a home, without a terminal and only with the running agent.

    :raises CannotRun: gpg fails; with the last line of its output.
    """
    batch = ("--batch", "--yes", "--no-autostart", "--no-tty", "--quiet", "--trust-model", "always")
    return call("gpg", "--homedir", home, *batch, *argv, home=home)


def call(tool: str, *argv: str | Path, home: Path, timeout: float = 300) -> Completed:
    """Run a program that uses the home.

    :raises CannotRun: it fails, with the last line of its output; or it does not end within ``timeout`` seconds.
    """
    try:
        return run([tool, *argv], env={**os.environ, "GNUPGHOME": str(home), "LC_ALL": "C.UTF-8"}, timeout=timeout)
    except CommandFailed as error:
        if error.timed_out:
            raise CannotRun(f"{tool} did not end within {timeout:.0f} s", "check the token and the disk") from None
        lines = [line for line in error.done.output.splitlines() if "GPG_TTY" not in line] or [str(error)]
        raise CannotRun(f"{tool} failed: {lines[-1]}", "see the output above, then publish again") from None
