"""GnuPG and its agent, which holds the key while a batch is signed.

The agent is started and ended here, and ends by itself within seconds when this process is killed: it watches over a
program of ours that dies with us.
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

_LOOKS, _LOOK_SECONDS = 25, 0.2  # how often and for how long we wait for an agent that was asked to end
_SOCKET_PATH_LIMIT = 106  # sun_path of unix(7) has 108 bytes; libassuan leaves room for two zero bytes


@contextlib.contextmanager
def reachable(home: Path) -> Iterator[Path]:
    """A path to the home that is short enough for the agent's sockets, which lie in it."""
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
    """Run the agent of a home for the length of a block; the path of its socket.

    :raises CannotRun: when it is not installed or does not start.
    """
    conf: list[str | Path] = [require("gpgconf", "gnupg"), "--homedir", home]
    # In the home, or below /run/user where that exists: then by a name that only GnuPG can tell.
    listening = Path(run([*conf, "--list-dirs", "agent-socket"]).output.strip())
    _end(listening)  # of a call that was killed: it may end at any moment
    words: list[str | Path] = [require("gpg-agent", "gnupg"), "--homedir", home, "--allow-preset-passphrase"]
    # Given a program, the agent looks every few seconds whether that still runs, and ends when it does not.
    words += ["--daemon", "--", "sh", "-c", "echo ready; exec sleep infinity"]
    # What the agent says goes elsewhere: in one pipe its words and "ready" could end up in one line.
    with (
        tempfile.TemporaryFile() as words_of_agent,
        start_program(words, stdout=PIPE, stderr=words_of_agent) as process,
    ):
        if pipe_of(process.stdout).readline() != b"ready\n":
            words_of_agent.seek(0)
            said = words_of_agent.read().decode(errors="replace").strip().splitlines()
            raise CannotRun(f"gpg-agent did not start: {said[-1] if said else 'it said nothing'}", f"see {home}")
        try:
            yield listening
        finally:
            _end(listening)
            run([*conf, "--remove-socketdir"], check=False)


def ask(listening: Path, *commands: str) -> list[str]:
    """What the agent answers to each command: its closing line, OK or ERR.

    Secrets go this way, not over a command line that everybody on the host can read.
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
    """End the agent of a socket, if there is one, and wait until it is gone: until then it is in the way of the next."""
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
        # It may have seen its end coming while this connection was open, and then looks again only after seconds.
        for _ in range(_LOOKS):
            if select.select([process], [], [], _LOOK_SECONDS)[0]:
                break
            signal.pidfd_send_signal(process, signal.SIGTERM)
        else:
            signal.pidfd_send_signal(process, signal.SIGKILL)
        os.close(process)


def gpg(home: Path, *words: str | Path) -> Completed:
    """Run gpg on a home, without a terminal and with no agent but the one that runs.

    :raises CannotRun: with gpg's last words.
    """
    batch = ("--batch", "--yes", "--no-autostart", "--no-tty", "--quiet", "--trust-model", "always")
    return call("gpg", "--homedir", home, *batch, *words, home=home)


def call(tool: str, *words: str | Path, home: Path, timeout: float = 300) -> Completed:
    """Run a program that uses the home.

    :raises CannotRun: with its last words, or when it did not end within ``timeout`` seconds.
    """
    try:
        return run([tool, *words], env={**os.environ, "GNUPGHOME": str(home), "LC_ALL": "C.UTF-8"}, timeout=timeout)
    except CommandFailed as error:
        if error.timed_out:
            raise CannotRun(f"{tool} did not end within {timeout:.0f} s", "is the token or the disk stuck?") from None
        lines = [line for line in error.done.output.splitlines() if "GPG_TTY" not in line]
        raise CannotRun(f"{tool} failed: {lines[-1] if lines else error}", "see above, then publish again") from None
