"""A temporary account of an ordinary user, with subordinate ids and its own checkout. It is always removed afterwards.

Its name has the process id of the test run. If that run is killed, the next one finds the account by its name and
removes it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.base import cache

CHECKOUT = Path(__file__).parents[2]
_NAME = re.compile(r"kitten-e2e-(\d+)")
_SHARED = ("trees", "guests", "guest-*", "initramfs")
"""Entries of the cache that need a mirror or a minute to make, and that contain no absolute path."""
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


@dataclass(frozen=True)
class Account:
    """An ordinary user of this host without a login: no session, no XDG_RUNTIME_DIR, no /usr/sbin in PATH."""

    name: str
    home: Path

    @property
    def checkout(self) -> Path:
        return self.home / "kitten-ci"

    def run(
        self, *words: str | Path, timeout: float = 3000, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, in its checkout and with umask 077."""
        variables = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **environment,
        }
        argv = ["runuser", "-u", self.name, "--", "env", "-i"]
        argv += [f"{name}={value}" for name, value in variables.items()]
        argv += ["sh", "-c", 'umask 077; cd "$0" && exec "$@"', str(self.checkout), *map(str, words)]
        done = subprocess.run(
            argv, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check:
            assert done.returncode == 0, f"{' '.join(map(str, words))}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def kitten(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(self.checkout / ".venv/bin/kitten", *words, check=check)

    def processes(self) -> dict[int, str]:
        """Return process id → command line of all processes of this user and its subordinate ids."""
        ids = _ids(self.name)
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if is_alive(int(entry.name)) and any(entry.stat().st_uid in numbers for numbers in ids):
                    found[int(entry.name)] = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
        return found


@contextlib.contextmanager
def account() -> Iterator[Account]:
    """Make an account with a checkout, an environment and a copy of this user's caches; remove it after the block."""
    remove_leftovers()
    name = f"kitten-e2e-{os.getpid()}"
    try:
        _run("useradd", "--create-home", "--shell", "/bin/sh", name)
        home = Path(pwd.getpwnam(name).pw_dir)
        home.chmod(0o700)
        if not any(line.startswith(f"{name}:") for line in Path("/etc/subuid").read_text().splitlines()):
            _run("usermod", "--add-subuids", "1000000000-1000065535", "--add-subgids", "1000000000-1000065535", name)
        user = Account(name, home)
        _check_out(user)
        _share_caches(user)
        _set_up(user)
        yield user
    finally:
        remove(name)


def remove_leftovers() -> list[str]:
    """Remove the accounts of test runs that have ended; return their names."""
    names = [
        entry.pw_name
        for entry in pwd.getpwall()
        if (match := _NAME.fullmatch(entry.pw_name)) and not _is_test_run(match[1])
    ]
    for name in names:
        remove(name)
    return names


def _is_test_run(process: str) -> bool:
    """Return whether the process with this id is a test run."""
    try:
        # A process of pytest-xdist does not have pytest in its command line; it inherits the variable.
        command, environment = (Path(f"/proc/{process}/{file}").read_bytes() for file in ("cmdline", "environ"))
        return b"pytest" in command or b"PYTEST_VERSION=" in environment
    except OSError:
        return False


def is_alive(process: int) -> bool:
    """Return whether a process exists and has not ended. A zombie has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def remove(name: str) -> None:
    """Remove an account, its processes and its files. It is no error if the account does not exist."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return
    limit = time.monotonic() + 30
    while (alive := Account(name, Path(entry.pw_dir)).processes()) and time.monotonic() < limit:
        for process in alive:  # kill all, then look again: a supervisor restarts processes
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.1)
    ids = _ids(name)
    for folder in _TEMPORARY:
        for path in folder.iterdir():
            with contextlib.suppress(OSError):
                if any(path.lstat().st_uid in numbers for numbers in ids):
                    _remove_path(path)
    shutil.rmtree(entry.pw_dir, ignore_errors=True)
    _run("userdel", "--remove", name, check=False)
    assert name not in {each.pw_name for each in pwd.getpwall()}, f"userdel does not remove {name}"
    assert not Path(entry.pw_dir).exists()


def _remove_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _ids(name: str) -> list[range]:
    """Return the ids of the account and its subordinate ids."""
    uid = pwd.getpwnam(name).pw_uid
    ids = [range(uid, uid + 1)]
    for line in Path("/etc/subuid").read_text().splitlines():
        owner, first, count = line.split(":")
        if owner in (name, str(uid)):
            ids.append(range(int(first), int(first) + int(count)))
    return ids


def _check_out(user: Account) -> None:
    """Copy this checkout with its changes and without ignored files: other users cannot read /root."""
    user.checkout.mkdir()
    listing = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, check=True).stdout.split(b"\0")
    existing = b"\0".join(name for name in names if name and (CHECKOUT / os.fsdecode(name)).exists())
    archive = subprocess.run(
        ["tar", "-C", str(CHECKOUT), "--null", "-T", "-", "-c"], input=existing, capture_output=True, check=True
    )
    subprocess.run(["tar", "-C", str(user.checkout), "--no-same-owner", "-x"], input=archive.stdout, check=True)
    _give(user, user.checkout)


def _share_caches(user: Account) -> None:
    """Copy the sandbox trees and the parts of guests to the account, which cannot read root's cache."""
    target = user.home / ".cache/kitten-ci"
    target.mkdir(parents=True)
    names = [path.name for pattern in _SHARED for path in sorted(cache.root().glob(pattern)) if path.is_dir()]
    if names:
        left_out = ["--exclude=trees/*/root/dev/*", "--exclude=.*.partial", "--exclude=.*.lock"]
        with subprocess.Popen(["tar", "-C", str(cache.root()), *left_out, "-c", *names], stdout=subprocess.PIPE) as tar:
            subprocess.run(["tar", "-C", str(target), "--no-same-owner", "-x"], stdin=tar.stdout, check=True)
        assert tar.returncode == 0
    if (pip := Path(_pip_output("cache", "dir"))).is_dir():
        shutil.copytree(pip, user.home / ".cache/pip")
    _give(user, user.home / ".cache")


def _set_up(user: Account) -> None:
    """Make the Python environment as `make setup` does, with pip's settings of this user."""
    settings = dict(
        line.split("=", 1) for line in _pip_output("config", "list").splitlines() if line.startswith("global.")
    )
    pip = {f"PIP_{name.removeprefix('global.').replace('-', '_').upper()}": value for name, value in settings.items()}
    variables = {name: " ".join(value.strip("'\"").split("\\n")) for name, value in pip.items()}
    variables |= {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")
    }
    # Python compiles the modules that it imports; pip would compile all of them.
    user.run("tools/setup.sh", PYTHON=_python(user), PIP_NO_COMPILE="1", **variables)


def _python(user: Account) -> str:
    """Return a Python that the account can run: the one of this environment, else the system's."""
    check = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (f"{sys.base_prefix}/bin/{version}", "/usr/bin/python3"):
        if user.run(path, "-c", check, check=False).returncode == 0:
            return path
    raise AssertionError("the account has no Python 3.11 or later: apt-get install python3-venv")


def _pip_output(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _give(user: Account, folder: Path) -> None:
    _run("chown", "--recursive", "--no-dereference", f"{user.name}:", str(folder))


def _run(*words: str, check: bool = True) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    done = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stderr}"
