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
import re
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import fmf

from workers.base.run import require
from workers.formats.rpm_payload import Entry
from workers.lab import gating
from workers.lab.guest import file_system, login, rpmtools, saved
from workers.lab.guest.file_system import Base
from workers.lab.judge import judge
from workers.lab.suites import Report, Request, package_files, packages
from workers.lab.suites.tmt_plans import context, find_plans, run_plans
from workers.lab.suites.tmt_results import GATING_FILE, suite_cases
from workers.results import Case

_END_SECONDS = 20.0  # of an idle machine with KVM
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
            ran = run_plans(request, base, entry, [plan for plan, enabled in plans.items() if enabled], running, limit)
            talk = running.finish(_END_SECONDS * factor)
    disabled = [plan for plan, enabled in plans.items() if not enabled]
    cases = (*map(_named, judge(talk, limit)), *installed.cases, *suite_cases(ran, disabled, gates))
    return Report.on(base, cases)


def _required(files: Mapping[str, bytes], products: Collection[str]) -> tuple[str, ...] | None:
    """The test cases that a gate requires; None without a policy about one of the products."""
    return (
        gating.required(gating.read(files[GATING_FILE].decode(errors="replace")), products)
        if GATING_FILE in files
        else None
    )


def _refused(name: str, reason: str) -> Report:
    return Report.without_guest(Case(name=name, outcome="failed", reason=reason))


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
        entries = package_files.unpack_with_needs(
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
