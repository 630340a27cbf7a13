"""The ``tmt`` suite: the plans of a package's dist-git repository, run by tmt against a guest of the lab.

tmt's own guests are not used: CPU model and firmware are what we test, so the guest is ours and tmt is told to connect to it.
``gating.yaml`` decides what a failure means: a test case that it requires must have run and passed; what fails in a plan
that it does not require is shown, and holds nothing up. Without such a policy every plan counts.

A plan is somebody's metadata that tmt reads on this host. tmt runs in a sandbox: nothing of the user's home or of the state
folder is in sight, and nothing but the run's own folder can be written. No plan may have commands run outside of the guest
(tmt's "feeling safe" stays off), so a plan cannot reboot it the hard way either.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import fmf
import yaml

from config.models import Site, Target
from workers.base import namespace
from workers.base.run import STDOUT, Completed, require, start_program
from workers.formats.rpm_payload import Entry
from workers.lab import gating
from workers.lab.guest import file_system, login, rpmtools, saved
from workers.lab.guest.file_system import Base
from workers.lab.guest.login import Login
from workers.lab.judge import judge
from workers.lab.machine.launch import Guest, LaunchFailedError
from workers.lab.suites import Report, Request, packages
from workers.results import Case

_GATING = "gating.yaml"
_OUTCOMES: Mapping[str, Mapping[str, str]] = {
    "pass": {"outcome": "passed"},
    "fail": {"outcome": "failed", "reason": "it failed"},
    "warn": {"outcome": "failed", "reason": "tmt warns"},
    "error": {"outcome": "failed", "reason": "it could not be run to its end"},
    "pending": {"outcome": "failed", "reason": "it did not run"},
    "info": {"outcome": "skipped", "code": "tmt-info", "reason": "the test only informs"},
    "skip": {"outcome": "skipped", "code": "tmt-skip", "reason": "the test skipped itself"},
}
"""tmt's results (its specification, "results"), as tmt's own exit status weighs them."""

_TAIL_LINES = 40
_END_SECONDS = 20.0  # of an idle machine with KVM
_POLL_SECONDS = 0.05
_PATH_CHARACTERS = 72
_SNAKE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_STAND_IN = b"""\
#!/usr/bin/bash
# Stands for the package manager in a guest without repositories: what is there is installed, anything else cannot be.
case ${1-} in
    --version) echo "this guest has no repositories"; exit ;;
    install) shift ;;
    *) echo "dnf ${1-}: this guest has no repositories" >&2; exit 1 ;;
esac
status=0
for wanted; do
    case $wanted in
        --skip-broken) optional=1 ;;
        -*) ;;
        /*) [ -e "$wanted" ] || missing+=("$wanted") ;;
        *) rpm -q --whatprovides "$wanted" >/dev/null 2>&1 || command -v "$wanted" >/dev/null || missing+=("$wanted") ;;
    esac
done
for wanted in "${missing[@]}"; do
    echo "No match for argument: $wanted (this guest has no repositories)" >&2
    status=1
done
[ -n "${optional-}" ] || exit "$status"
"""


def run(request: Request) -> Report:
    """Run every plan that is enabled, in one guest that holds the package's files.

    :raises CannotRun: another target's package, a library nobody brings, no QEMU, no guest kernel, no rsync, no bubblewrap.
    """
    # The path of a socket has 108 bytes, so the folder is not below whatever folder the caller has.
    with tempfile.TemporaryDirectory(prefix="kitten-tmt-") as folder:
        return _run(dataclasses.replace(request, scratch=Path(folder)))


def _run(request: Request) -> Report:
    tree = request.scratch / "tree"
    _lay_out(request.fmf, tree)
    try:
        plans = find_plans(tree, context(request.site, request.target)) if request.fmf else {}
        gates = _required(request.fmf, request.site.sources.gating_products)
    except (fmf.utils.GeneralError, gating.GatingError) as error:
        return _refused("metadata", " ".join(str(error).split()))
    if not any(plans.values()):
        what = "every plan of it is disabled" if plans else "it has no plans"
        return _refused(
            "plans", f"{what}: nothing was tested. Its dist-git repository needs .fmf/version and plans/*.fmf"
        )
    for tool in ("rsync", "git"):
        require(tool, tool)
    installed = _installation(request)
    if any(case.outcome == "failed" for case in installed.cases):
        return Report.without_guest(*installed.cases)
    base = installed.base
    factor = saved.time_factor(base)
    limit = request.suite.timeout_seconds * factor
    with login.login(request.target, request.scratch) as entry:
        files = {**entry.files, **installed.files, "/kitten/login/dnf": _STAND_IN}
        payload = file_system.payload_archive(installed.laid_out, {**installed.scripts, **entry.tests}, files)
        with saved.ready(
            base,
            payload,
            request.logs,
            room=installed.room,
            arguments=entry.arguments,
            inherited=entry.inherited,
        ) as running:
            ran = _run_plans(request, base, entry, [plan for plan, enabled in plans.items() if enabled], running, limit)
            talk = running.finish(_END_SECONDS * factor)
    disabled = [plan for plan, enabled in plans.items() if not enabled]
    cases = (*map(_named, judge(talk, limit)), *installed.cases, *judged(ran, disabled, gates))
    return Report.on(base, cases)


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


def judged(ran: Mapping[str, Sequence[Case]], disabled: Sequence[str], gates: Sequence[str] | None) -> tuple[Case, ...]:
    """The cases of all plans, and one for each test case that a gate requires.

    :param ran: plan → its cases.
    :param disabled: plans that do not run here.
    :param gates: the required test cases; None where no policy is about this distribution: then every plan counts.
    """
    off = [
        Case(name=plan, outcome="skipped", code="tmt-disabled", reason="the plan is disabled here") for plan in disabled
    ]
    if gates is None:
        return (*(case for cases in ran.values() for case in cases), *off)
    means = {gate: gating.plans_of(gate, (*ran, *disabled)) for gate in gates}
    required = {plan for meant in means.values() for plan in meant}
    shown = [
        case if plan in required or case.outcome != "failed" else _not_required(case)
        for plan, cases in ran.items()
        for case in cases
    ]
    return (*shown, *off, *(_gate(gate, meant, ran) for gate, meant in means.items()))


def _gate(gate: str, meant: Sequence[str], ran: Mapping[str, Sequence[Case]]) -> Case:
    name = f"{_GATING}: {gate}"
    cases = [case for plan in meant for case in ran.get(plan, ())]
    if not meant:
        return Case(name=name, outcome="failed", reason="it is required, and no plan of this repository is meant by it")
    if idle := [plan for plan in meant if plan not in ran]:
        return Case(name=name, outcome="failed", reason=f"it is required, and {idle[0]} is disabled here")
    if failed := next((case for case in cases if case.outcome == "failed"), None):
        return Case(name=name, outcome="failed", reason=f"{failed.name}: {failed.reason}")
    if not any(case.outcome == "passed" for case in cases):
        return Case(name=name, outcome="failed", reason="it is required, and every test of it was skipped")
    return Case(name=name, outcome="passed")


def _not_required(case: Case) -> Case:
    reason = f"it failed, which {_GATING} lets pass: {case.reason}"
    return case.model_copy(update={"outcome": "skipped", "code": "not-gating", "reason": reason})


def cases_of(plan: str, execute: Path, wrong: str = "", log: Path | None = None) -> tuple[Case, ...]:
    """The cases of a plan that ran.

    :param execute: the folder with its ``results.yaml``.
    :param wrong: what kept tmt from ending well; of a plan that could not be prepared, it could run no test either.
    :param log: what tmt said.
    """
    try:
        documents = yaml.safe_load((execute / "results.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        documents = None
    cases: dict[str, Case] = {}
    for document in documents if isinstance(documents, list) else ():
        name, number = f"{plan}: {document['name']}", 1
        while name in cases:  # the same test again: another phase, another guest
            number += 1
            name = f"{plan}: {document['name']} #{number}"
        cases[name] = _case(name, document, execute)
    if wrong or not cases:
        reason = wrong or "no test of this plan ran"
        cases[plan] = Case(name=plan, outcome="failed", reason=reason, detail=_tail(log) if log else "")
    return tuple(cases.values())


def _case(name: str, document: Mapping[str, Any], folder: Path) -> Case:
    said = _OUTCOMES.get(str(document["result"]), {"outcome": "failed", "reason": f"tmt says {document['result']}"})
    notes = [str(note) for note in document.get("note") or ()]
    checks = [
        f"check {check.get('name')} {check.get('event')}: {check.get('result')}"
        for check in document.get("check") or ()
        if check.get("result") not in ("pass", "info")
    ]
    words = "; ".join([*notes, *checks]) if said["outcome"] != "passed" else ""
    logs = [log for log in document.get("log") or () if str(log).endswith("output.txt")]
    case = {
        **said,
        "name": name,
        "reason": words or said.get("reason", ""),
        "detail": _tail(folder / logs[0]) if logs else "",
        "seconds": seconds(str(document.get("duration") or "")),
    }
    return Case.model_validate(case)


def seconds(duration: str) -> float:
    """``HH:MM:SS`` in seconds; 0 where it says nothing of the kind."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d)", duration)
    return float(int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])) if found else 0.0


def _required(files: Mapping[str, bytes], products: Collection[str]) -> tuple[str, ...] | None:
    """The test cases that a gate requires; None without a policy about one of the products."""
    return gating.required(gating.read(files[_GATING].decode(errors="replace")), products) if _GATING in files else None


def _refused(name: str, reason: str) -> Report:
    return Report.without_guest(Case(name=name, outcome="failed", reason=reason))


# ------------------------------------------------------------------------------------------------------- running tmt


def _lay_out(files: Mapping[str, bytes], tree: Path) -> None:
    for name, data in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755)


@dataclasses.dataclass(frozen=True)
class _Installed:
    """A guest with the packages under test, before it runs."""

    base: Base
    cases: tuple[Case, ...] = ()
    laid_out: tuple[tuple[Entry, ...], ...] = ()
    scripts: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    files: Mapping[str, bytes | Path] = dataclasses.field(default_factory=dict)
    room: int = 0


def _installation(request: Request) -> _Installed:
    """In the root guest rpm installs the packages; in a cloud image, which is another's system, they are laid out as files."""
    if request.target.machine.image is not None:
        base = file_system.base(request.target)
        entries = packages.laid_out(
            request.site, request.target, request.state, request.packages, request.scratch, request.extra
        )
        return _Installed(base, laid_out=entries)
    base = rpmtools.root_base(request.site, request.target)
    if not request.packages:
        return _Installed(base)
    found = packages.installation(request, rpmtools.loader(base.parts))
    return _Installed(base, found.cases, scripts=found.scripts, files=found.files, room=found.room)


def _named(case: Case) -> Case:
    """The installation is a script with a number (``lifecycle``); its case has none."""
    return case.model_copy(update={"name": re.sub(r"^001-(\w+)\.sh", r"\1", case.name)})


def _run_plans(
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
    wrong = _run_tmt(_confined(request, argv, entry), log, running, until)
    if (results / "log.txt").is_file():
        shutil.copyfile(results / "log.txt", log.with_suffix(".debug.log"))
    for output in sorted(results.rglob("output.txt")):
        shutil.copyfile(output, log.with_suffix(f".{output.parent.name}.log"))
    return cases_of(plan, results / plan.lstrip("/") / "execute", wrong, log)


def _confined(request: Request, argv: Sequence[str], entry: Login) -> list[str]:
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
    with log.open("wb") as sink, start_program(argv, stdout=sink, stderr=STDOUT) as process:
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
    failures = [line.split("fail: ", 1)[1] for line in _tail(log, 10_000).splitlines() if " fail: " in line]
    return f"tmt: {failures[-1]}" if failures else f"tmt ended with exit status {process.returncode}"


def _head(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(1000)


def _tail(path: Path, lines: int = _TAIL_LINES) -> str:
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-lines:])
    except OSError:
        return ""
