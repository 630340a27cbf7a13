"""Finds the plans of an fmf tree, and runs each by tmt in a sandbox, against a guest of the lab."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import fmf

from config.models import Site, Target
from workers.base import namespace
from workers.base.run import STDOUT, Completed, require, started
from workers.lab.guest import login
from workers.lab.guest.file_system import Base
from workers.lab.guest.login import Login
from workers.lab.machine.launch import Guest, LaunchFailedError
from workers.lab.suites import Request
from workers.lab.suites.tmt_results import plan_cases, tail_of
from workers.results import Case

_POLL_SECONDS = 0.05
_PATH_CHARACTERS = 72
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def context(site: Site, target: Target) -> dict[str, str]:
    """What plans may ask for in ``adjust: when:``: name → values, parted by commas."""
    distro = {"distro": ",".join(site.sources.tmt_distros)} if site.sources.tmt_distros else {}
    return {**distro, "trigger": "commit", "arch": target.machine_arch}


def find_plans(tree: Path, context: Mapping[str, str]) -> dict[str, bool]:
    """The names of a tree's plans, and whether each is enabled in a context.

    :raises fmf.utils.GeneralError: when the tree cannot be read.
    """
    metadata = fmf.Tree(str(tree))
    values = {name: value.split(",") for name, value in context.items()}
    metadata.adjust(fmf.context.Context(**values))
    return {plan.name: bool(plan.get("enabled", True)) for plan in metadata.prune(keys=["execute"])}


def run_plans(
    request: Request, base: Base, entry: Login, plans: Sequence[str], running: Guest, limit: float
) -> Mapping[str, Sequence[Case]]:
    """Plan → its cases."""
    until = time.monotonic() + limit
    try:
        with login.session(entry, limit):  # the packages are installed first
            return {plan: _run_plan(request, base, entry, plan, running, until) for plan in plans}
    except LaunchFailedError as error:
        return {plan: (Case(name=plan, outcome="failed", reason=str(error)),) for plan in plans}


def _run_plan(request: Request, base: Base, entry: Login, plan: str, running: Guest, until: float) -> tuple[Case, ...]:
    """Run one plan. Each is a run of tmt by itself: one that cannot be prepared would end it for all."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", plan).strip("-")
    # A path so long that tmt can put no socket below it. It then leaves the sharing of a connection to ssh, where ours is at
    # hand. Its own it would make anew for each step, look for at once, and then again only 30 s later.
    results = request.scratch / f"run-{name}-".ljust(max(0, _PATH_CHARACTERS - len(str(request.scratch))), "-")
    log = request.logs / f"{name}.log"
    # A test's `duration` is that of real hardware. Under emulation the suite's limit stands for all of them.
    patience = ["--ignore-duration"] if base.accelerator.name == "tcg" else []
    argv = [
        *(sys.executable, "-m", "tmt", "-vv", "--root", str(request.scratch / "tree")),
        *(f"--context={name}={value}" for name, value in context(request.site, request.target).items()),
        *("run", "--id", str(results), "--all", "plan", "--name", f"^{re.escape(plan)}$"),
        *("provision", "--how", "connect", "--guest", login.HOST, "--key", str(entry.key)),
        *("execute", *patience),
    ]
    wrong = _run_tmt(sandbox_command(request, argv, entry), log, running, until)
    if (results / "log.txt").is_file():
        shutil.copyfile(results / "log.txt", log.with_suffix(".debug.log"))
    for output in sorted(results.rglob("output.txt")):
        shutil.copyfile(output, log.with_suffix(f".{output.parent.name}.log"))
    return plan_cases(plan, results / plan.lstrip("/") / "execute", wrong, log)


def sandbox_command(request: Request, argv: Sequence[str], entry: Login) -> list[str]:
    """The command line in a sandbox of its own, as far as it must reach a guest and the repositories of tests."""
    python = {str(Path(folder).resolve()) for folder in (sys.prefix, sys.base_prefix)}
    home = request.scratch / "home"
    home.mkdir(exist_ok=True)
    hidden = ["/tmp", "/var/tmp", "/run", str(Path.home()), *([str(request.state)] if request.state.is_dir() else [])]  # noqa: S108
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        **{f"TMT_SSH_{_SNAKE.sub('_', name).upper()}": value for name, value in entry.options.items()},
    }
    return [
        *(require("bwrap", "bubblewrap"), "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *(word for folder in hidden for word in ("--tmpfs", folder)),
        *("--ro-bind-try", "/run/systemd/resolve", "/run/systemd/resolve"),  # names of hosts
        *(word for folder in sorted(python) for word in ("--ro-bind", folder, folder)),
        *("--bind", str(request.scratch), str(request.scratch)),
        *("--clearenv", *(word for pair in environment.items() for word in ("--setenv", *pair))),
        *("--chdir", str(request.scratch), "--", *argv),
    ]


def _run_tmt(argv: Sequence[str], log: Path, running: Guest, until: float) -> str:
    """Run it to its end. Returns what was wrong with it, if anything: a test that failed is nothing wrong."""
    with log.open("wb") as sink, started(argv, stdout=sink, stderr=STDOUT) as process:
        while process.poll() is None:
            if running.talk.ending:
                return f"the guest ended meanwhile ({running.talk.ending})"
            if time.monotonic() > until:
                return "tmt did not end in time"
            time.sleep(_POLL_SECONDS)
    if cannot := namespace.refusal(Completed(tuple(argv), process.returncode, _head(log))):
        raise cannot
    # Its manual: 0 passed, 1 failed, 2 an error, 3 nothing ran, 4 everything was skipped.
    if process.returncode in (0, 1, 4):
        return ""
    failures = [line.split("fail: ", 1)[1] for line in tail_of(log, 10_000).splitlines() if " fail: " in line]
    return f"tmt: {failures[-1]}" if failures else f"tmt ended with exit status {process.returncode}"


def _head(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(1000)
