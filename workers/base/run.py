"""Run programs. No program that a command starts outlives the command, however it ends.

All programs start here. A child leads its own process group and asks the kernel to kill it when its parent dies
(PR_SET_PDEATHSIG), so ``kill -9`` of a worker ends rpmbuild and QEMU, too. A time limit or an interruption ends the
whole group.

setpriv of util-linux asks the kernel, not a function between fork and exec: that needs a copy of our page tables, which
takes ten times as long as both programs if we have 300 MiB, and can deadlock if we have threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workers.base.errors import CannotRun

# For callers of ``start_program``, so that they need not import subprocess.
PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# If the parent ended before setpriv asked the kernel, it sends no signal.
_WITH_PARENT = ("/usr/bin/setpriv", "--pdeathsig", "KILL", "/bin/sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"')
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Completed:
    """A program that ran to its end."""

    argv: tuple[str, ...]
    status: int
    output: str
    """Standard output and standard error together."""

    @property
    def command_line(self) -> str:
        """Return the call, quoted for a shell."""
        return shlex.join(self.argv)


class CommandFailed(Exception):
    """A program failed or took too long; the message has its command line and the last lines of its output."""

    def __init__(self, done: Completed, timeout: float | None = None) -> None:
        how = f"did not end within {timeout:.0f} s" if timeout is not None else f"exited with {done.status}"
        tail = "\n".join(done.output.splitlines()[-15:])
        super().__init__(f"{done.argv[0]} {how}: {done.command_line}" + (f"\n{tail}" if tail else ""))
        self.done = done
        self.timed_out = timeout is not None


def require(tool: str, package: str) -> str:
    """Return the path of a program on PATH.

    :param package: the Debian package that has it.
    :raises CannotRun: if it is not installed; the hint names the package.
    """
    path = shutil.which(tool, path=_search_path(os.environ))
    if path is None:
        raise CannotRun(f"{tool} is not installed", f"apt-get install {package}   (or: make setup)")
    return path


def _search_path(environment: Mapping[str, str]) -> str:
    """Return PATH with the folders of system tools (dosfstools, e2fsprogs …); on Debian, a user's PATH lacks them."""
    path = environment.get("PATH", os.defpath)
    return ":".join([path, *(folder for folder in ("/usr/sbin", "/sbin") if folder not in path.split(":"))])


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent ends (for our own processes; programs: `start_program`).

    :param parent: the parent's process id. If it ended before this call, the kernel sends no signal; so this process
        ends itself at once.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def pipe_of(stream: IO[bytes] | None) -> IO[bytes]:
    """Return the pipe to or from a program.

    :raises ValueError: if the program was started without it.
    """
    if stream is None:
        raise ValueError("the program was started without this pipe; pass stdin=PIPE or stdout=PIPE")
    return stream


@contextlib.contextmanager
def start_program(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program for a ``with`` block. After the block, also after an error, its whole process group is ended.

    :raises CannotRun: if the program is not installed.
    """
    words = [os.fspath(word) for word in argv]
    environment = dict(os.environ if env is None else env)
    environment["PATH"] = _search_path(environment)
    if not _is_program(words[0], environment["PATH"], cwd):
        raise CannotRun(f"{words[0]} is not installed", "run make setup: it installs what is missing")
    process = subprocess.Popen(
        [*_WITH_PARENT, str(os.getpid()), *words],
        cwd=cwd,
        env=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def _is_program(name: str, path: str, cwd: Path | None) -> bool:
    return os.access((cwd or Path()) / name, os.X_OK) if "/" in name else shutil.which(name, path=path) is not None


@contextlib.contextmanager
def run_afterwards(argv: Sequence[str], patience: float = 5.0) -> Iterator[None]:
    """Run a program after a ``with`` block, even if ``kill -9`` ends this process: only such a cleaner outlives us.

    :param argv: a program that waits for the end of its standard input, then does its work. The input ends with the
        block or with this process.
    :param patience: seconds that the program may take.
    """
    cleaner = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        pipe_of(cleaner.stdin).close()
        try:
            cleaner.wait(patience)
        except subprocess.TimeoutExpired:
            end(cleaner, patience)


def end(process: subprocess.Popen[bytes], patience: float = 5.0) -> None:
    """End a program of this module and its process group: send TERM, wait up to ``patience`` seconds, send KILL."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    echo: bool = False,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run a program to its end.

    :param log: file to which its output is appended.
    :param echo: also copy its output to our standard output at once, to show progress to a person or in a build log.
    :param timeout: seconds after which its process group is killed.
    :raises CommandFailed: if it exits with another status than 0 (unless ``check`` is off), or takes too long.
    :raises CannotRun: if the program is not installed.
    """
    words = tuple(os.fspath(word) for word in argv)
    kept: list[bytes] = []
    sink = log.open("ab") if log else None
    expired = threading.Event()
    try:
        with start_program(argv, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:

            def expire() -> None:
                expired.set()
                _signal_group(process.pid, signal.SIGKILL)

            timer = threading.Timer(timeout or 0, expire)
            timer.daemon = True
            if timeout is not None:
                timer.start()
            try:
                for line in pipe_of(process.stdout):
                    kept.append(line)
                    if sink:
                        sink.write(line)
                    if echo:
                        os.write(1, line)
                status = process.wait()
            finally:
                timer.cancel()
    finally:
        if sink:
            sink.close()
    done = Completed(words, status, b"".join(kept).decode(errors="replace"))
    if expired.is_set():
        raise CommandFailed(done, timeout)
    if check and status != 0:
        raise CommandFailed(done)
    return done
