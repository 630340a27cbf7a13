"""Run git so that a repository or a user's configuration cannot make it do anything else.

It runs no hooks, filters or submodules, shows no prompt, uses only the transports below, and checks objects when it
fetches them. Names are checked before they reach a command line, so that none is an option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.base.errors import CannotRun
from workers.base.run import Completed, run

# Others are forbidden, because ext:: and fd:: run programs. See git-config(1), protocol.allow.
TRANSPORTS = ("file", "git", "http", "https", "ssh")
SECONDS = 300.0  # s for one call: a dist-git repository has only text, its tarballs are in the lookaside

_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.attributesFile=/dev/null",
    "fetch.fsckObjects=true",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "credential.helper=",
    "protocol.allow=never",
    *(f"protocol.{name}.allow=always" for name in TRANSPORTS),
)


def git(
    *arguments: str | Path, repository: Path, env: Mapping[str, str] | None = None, check: bool = True
) -> Completed:
    """Run git on a bare repository.

    :raises workers.base.run.CommandFailed: git fails and ``check`` is on.
    """
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    return run(
        ["git", *settings, f"--git-dir={repository}", *arguments],
        env={**_environment(), **(env or {})},
        timeout=SECONDS,
        check=check,
    )


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return kept | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "false",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "LC_ALL": "C",
    }


def create(repository: Path, branch: str = "main") -> None:
    """Make an empty bare repository."""
    repository.mkdir(parents=True, exist_ok=True)
    # No template: a host's template folder may hold hooks.
    git("init", "--quiet", "--bare", "--template=", f"--initial-branch={branch}", repository=repository)


def failure_line(done: Completed) -> str:
    """Return the line of git's output that says why it failed."""
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    for start in ("fatal: ", "error: ", "remote: "):
        for line in lines:
            if line.startswith(start):
                return line.removeprefix(start)
    return lines[-1] if lines else f"git exited with {done.status}"


def checked_branch(name: str) -> str:
    """Return ``name`` if it is a valid branch name (git-check-ref-format(1)) and cannot be an option.

    :raises CannotRun: it is not.
    """
    if (
        not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._/+-]*", name)
        or ".." in name
        or "//" in name
        or "/." in name
        or name.endswith(("/", ".", ".lock"))
    ):
        raise CannotRun(f"{name!r} is not the name of a branch", "give a name such as c10s or a10s-zlib")
    return name


def checked_revision(name: str) -> str:
    """Return ``name`` if it is a hexadecimal commit name of at least 7 digits.

    :raises CannotRun: it is not.
    """
    if not re.fullmatch(r"[0-9a-f]{7,64}", name):
        raise CannotRun(f"{name!r} is not the name of a commit", "give its hexadecimal name, 7 digits or more")
    return name


def checked_url(url: str) -> str:
    """Return ``url`` if it is a path or has one of the allowed transports.

    :raises CannotRun: it has another transport.
    """
    scheme = re.match(r"([A-Za-z0-9+.-]*)::|([A-Za-z0-9+.-]+)://", url)
    if url.startswith("-") or not url or (scheme and scheme[2] not in TRANSPORTS) or re.search(r"[\x00-\x20]", url):
        raise CannotRun(
            f"{url!r} is not the address of a dist-git repository",
            f"give a folder, or an address that begins with {', '.join(f'{name}://' for name in TRANSPORTS)}",
        )
    return url


def first_line(arguments: Sequence[str | Path], repository: Path) -> str:
    """Return the first line that a plumbing command prints; empty if it fails."""
    done = git(*arguments, repository=repository, check=False)
    return done.output.split("\n", 1)[0] if done.status == 0 else ""
