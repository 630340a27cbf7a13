"""A throw-away account of an ordinary user, with subordinate ids and a checkout of its own; gone afterwards, whatever happens.

Its name holds the process id of the test run. What a killed run left is found by that name, and removed by the next run.
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
"""Of the cache: what takes a mirror or a minute to make, and holds no path of its own."""
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


@dataclass(frozen=True)
class Account:
    """An ordinary user of this host, who is not logged in: no session, no XDG_RUNTIME_DIR, no /usr/sbin on the path."""

    name: str
    home: Path

    @property
    def checkout(self) -> Path:
        return self.home / "kitten-ci"

    def run(
        self, *words: str | Path, timeout: float = 3000, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as this user in its checkout, with umask 077."""
        variables = {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **environment,
        }
        argv = [
            "runuser",
            "-u",
            self.name,
            "--",
            "env",
            "-i",
            *(f"{name}={value}" for name, value in variables.items()),
        ]
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
        """What runs as this user or one of its subordinate ids: process id → command line."""
        ids = _ids(self.name)
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if runs(int(entry.name)) and any(entry.stat().st_uid in numbers for numbers in ids):
                    found[int(entry.name)] = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
        return found


@contextlib.contextmanager
def account() -> Iterator[Account]:
    """An account with a checkout, an environment and a copy of this user's caches; removed at the end of the block."""
    remove_leftovers()
    name = f"kitten-e2e-{os.getpid()}"
    try:
        _run("useradd", "--create-home", "--shell", "/bin/sh", name)
        home = Path(pwd.getpwnam(name).pw_dir)
        home.chmod(0o700)
        if not any(line.startswith(f"{name}:") for line in Path("/etc/subuid").read_text().splitlines()):
            _run("usermod", "--add-subuids", "1000000000-1000065535", "--add-subgids", "1000000000-1000065535", name)
        made = Account(name, home)
        _check_out(made)
        _share_caches(made)
        _set_up(made)
        yield made
    finally:
        remove(name)


def remove_leftovers() -> list[str]:
    """Remove the accounts of test runs that are no more; their names."""
    names = [
        entry.pw_name for entry in pwd.getpwall() if (match := _NAME.fullmatch(entry.pw_name)) and not _lives(match[1])
    ]
    for name in names:
        remove(name)
    return names


def _lives(process: str) -> bool:
    """Whether a test run of that process id is under way."""
    try:
        # The command line of a process of pytest-xdist does not name pytest; it has the variable from the one that began it.
        words, environment = (Path(f"/proc/{process}/{file}").read_bytes() for file in ("cmdline", "environ"))
        return b"pytest" in words or b"PYTEST_VERSION=" in environment
    except OSError:
        return False


def runs(process: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has asked for its end has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def remove(name: str) -> None:
    """Remove an account, its processes and its files. One that is not there is no error."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return
    limit = time.monotonic() + 30
    while (running := Account(name, Path(entry.pw_dir)).processes()) and time.monotonic() < limit:
        for process in running:  # killed all at once and again: a supervisor starts anew what ends
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
    """The numbers of the account and its subordinate ids."""
    uid = pwd.getpwnam(name).pw_uid
    found = [range(uid, uid + 1)]
    for line in Path("/etc/subuid").read_text().splitlines():
        owner, first, count = line.split(":")
        if owner in (name, str(uid)):
            found.append(range(int(first), int(first) + int(count)))
    return found


def _check_out(made: Account) -> None:
    """Copy what is in this checkout and not ignored, changes included: /root is for nobody else to read."""
    made.checkout.mkdir()
    listing = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, check=True).stdout.split(b"\0")
    kept = b"\0".join(name for name in names if name and (CHECKOUT / os.fsdecode(name)).exists())
    archive = subprocess.run(
        ["tar", "-C", str(CHECKOUT), "--null", "-T", "-", "-c"], input=kept, capture_output=True, check=True
    )
    subprocess.run(["tar", "-C", str(made.checkout), "--no-same-owner", "-x"], input=archive.stdout, check=True)
    _give(made, made.checkout)


def _share_caches(made: Account) -> None:
    """Copy the sandbox tree and the parts of guests, as files of the account: it can read nothing of root's cache."""
    there = made.home / ".cache/kitten-ci"
    there.mkdir(parents=True)
    names = [path.name for pattern in _SHARED for path in sorted(cache.root().glob(pattern)) if path.is_dir()]
    if names:
        left_out = ["--exclude=trees/*/root/dev/*", "--exclude=.*.partial", "--exclude=.*.lock"]
        with subprocess.Popen(
            ["tar", "-C", str(cache.root()), *left_out, "-c", *names], stdout=subprocess.PIPE
        ) as packing:
            subprocess.run(["tar", "-C", str(there), "--no-same-owner", "-x"], stdin=packing.stdout, check=True)
        assert packing.returncode == 0
    if (pip := Path(_of_pip("cache", "dir"))).is_dir():
        shutil.copytree(pip, made.home / ".cache/pip")
    _give(made, made.home / ".cache")


def _set_up(made: Account) -> None:
    """The environment, as `make setup` makes it, from where pip finds packages for this user."""
    settings = dict(line.split("=", 1) for line in _of_pip("config", "list").splitlines() if line.startswith("global."))
    pip = {f"PIP_{name.removeprefix('global.').replace('-', '_').upper()}": value for name, value in settings.items()}
    variables = {name: " ".join(value.strip("'\"").split("\\n")) for name, value in pip.items()}
    variables |= {
        name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")
    }
    # Python compiles what the test imports; pip would compile every module of every package.
    made.run("tools/setup.sh", PYTHON=_python(made), PIP_NO_COMPILE="1", **variables)


def _python(made: Account) -> str:
    """A Python that the account may run: the one of this environment, else the system's."""
    check = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (f"{sys.base_prefix}/bin/{version}", "/usr/bin/python3"):
        if made.run(path, "-c", check, check=False).returncode == 0:
            return path
    raise AssertionError("the account has no Python 3.11 or later: apt-get install python3-venv")


def _of_pip(*words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _give(made: Account, folder: Path) -> None:
    _run("chown", "--recursive", "--no-dereference", f"{made.name}:", str(folder))


def _run(*words: str, check: bool = True) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    done = subprocess.run(words, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stderr}"
