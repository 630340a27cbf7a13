"""Find the plans of an fmf tree, and run each with tmt in a sandbox, in a guest of the lab."""

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
from workers.base.run import STDOUT, Completed, require, start_program
from workers.lab.guest import login
from workers.lab.guest.file_system import Base
from workers.lab.guest.login import Login
from workers.lab.machine.launch import Guest, LaunchFailedError
from workers.lab.suites import Request
from workers.lab.suites.tmt_results import is_inside, plan_cases, tail_of
from workers.results import Case

_POLL_SECONDS = 0.05
_PATH_CHARACTERS = 72
_MAX_NAME = 100  # characters of a test's name in the name of its log
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])")


def context(site: Site, target: Target) -> dict[str, str]:
    """The context for ``adjust: when:`` in plans: name → values, separated by commas."""
    distro = {"distro": ",".join(site.sources.tmt_distros)} if site.sources.tmt_distros else {}
    return {**distro, "trigger": "commit", "arch": target.machine_arch}


def find_plans(tree: Path, context: Mapping[str, str]) -> dict[str, bool]:
    """Find the plans of a tree.

    :returns: name of the plan → it is enabled in the context.
    :raises fmf.utils.GeneralError: if the tree cannot be read.
    """
    values = {name: value.split(",") for name, value in context.items()}
    try:
        metadata = fmf.Tree(str(tree))
        metadata.adjust(fmf.context.Context(**values))
    except RecursionError:
        raise fmf.utils.GeneralError("the metadata is nested too deeply") from None
    return {plan.name: bool(plan.get("enabled", True)) for plan in metadata.prune(keys=["execute"])}


def run_plans(
    request: Request, base: Base, entry: Login, plans: Sequence[str], running: Guest, limit: float
) -> Mapping[str, Sequence[Case]]:
    """Run plans.

    :returns: plan → its cases.
    """
    until = time.monotonic() + limit
    try:
        with login.session(entry, limit):  # it opens after the packages are installed
            return {plan: _run_plan(request, base, entry, plan, running, until) for plan in plans}
    except LaunchFailedError as error:
        return {plan: (Case(name=plan, outcome="failed", reason=str(error)),) for plan in plans}


def _run_plan(request: Request, base: Base, entry: Login, plan: str, running: Guest, until: float) -> tuple[Case, ...]:
    """Run one plan, in its own run of tmt, because a plan that cannot be prepared ends the run for all plans."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", plan).strip("-")
    # A path that is too long for tmt's socket. So tmt does not share an ssh connection, and ssh uses ours. tmt would
    # open a new connection for each step, look for it immediately, and try again only after 30 s.
    results = request.scratch / f"run-{name}-".ljust(max(0, _PATH_CHARACTERS - len(str(request.scratch))), "-")
    log = request.logs / f"{name}.log"
    # A test's `duration` is for real hardware. Under emulation only the limit of the suite counts.
    duration = ["--ignore-duration"] if base.accelerator.name == "tcg" else []
    argv = [
        *(sys.executable, "-m", "tmt", "-vv", "--root", str(request.scratch / "tree")),
        *(f"--context={name}={value}" for name, value in context(request.site, request.target).items()),
        *("run", "--id", str(results), "--all", "plan", "--name", f"^{re.escape(plan)}$"),
        *("provision", "--how", "connect", "--guest", login.HOST, "--key", str(entry.key)),
        *("execute", *duration),
    ]
    wrong = _run_tmt(sandbox_command(request, argv, entry), log, running, until)
    if is_inside(results / "log.txt", results):
        shutil.copyfile(results / "log.txt", log.with_suffix(".debug.log"))
    for output in sorted(results.rglob("output.txt")):
        if is_inside(output, results):
            test = re.sub(r"[^A-Za-z0-9._-]+", "-", output.parent.name)[:_MAX_NAME]
            shutil.copyfile(output, log.with_suffix(f".{test}.log"))
    return plan_cases(plan, results / plan.lstrip("/") / "execute", wrong, log)


def sandbox_command(request: Request, argv: Sequence[str], entry: Login) -> list[str]:
    """The command line that runs another one in a sandbox, with network for the guest and the tests' repositories."""
    python = {str(Path(folder).resolve()) for folder in (sys.prefix, sys.base_prefix)}
    home = request.scratch / "home"
    home.mkdir(exist_ok=True)
    state = [str(request.state)] if request.state.is_dir() else []
    hidden = ["/tmp", "/var/tmp", "/run", str(Path.home()), *state]  # noqa: S108
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
        *("--ro-bind-try", "/run/systemd/resolve", "/run/systemd/resolve"),  # to resolve host names
        *(word for folder in sorted(python) for word in ("--ro-bind", folder, folder)),
        *("--bind", str(request.scratch), str(request.scratch)),
        *("--clearenv", *(word for pair in environment.items() for word in ("--setenv", *pair))),
        *("--chdir", str(request.scratch), "--", *argv),
    ]


def _run_tmt(argv: Sequence[str], log: Path, running: Guest, until: float) -> str:
    """Run tmt to its end.

    :returns: why the run is not complete; empty if it is, even if tests failed.
    """
    with log.open("wb") as sink, start_program(argv, stdout=sink, stderr=STDOUT) as process:
        while process.poll() is None:
            if running.talk.ending:
                return f"the guest ended during the run ({running.talk.ending})"
            if time.monotonic() > until:
                return "tmt did not end in time"
            time.sleep(_POLL_SECONDS)
    if refusal := namespace.refusal(Completed(tuple(argv), process.returncode, _head(log))):
        raise refusal
    # tmt's manual: 0 all passed, 1 a test failed, 2 an error, 3 no test ran, 4 all tests were skipped.
    if process.returncode in (0, 1, 4):
        return ""
    failures = [line.split("fail: ", 1)[1] for line in tail_of(log, 10_000).splitlines() if " fail: " in line]
    return f"tmt: {failures[-1]}" if failures else f"tmt ended with exit status {process.returncode}"


def _head(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(1000)
