"""The ``tmt`` suite: tmt runs the plans of a package's dist-git repository in a guest of the lab.

The suite does not use tmt's own guests, because it tests a CPU model and firmware: tmt connects to a guest of the lab.
``gating.yaml`` decides which failures count: a test case that it requires must run and pass. Failures in a plan that it
does not require are shown, but do not fail the suite. Without a policy in ``gating.yaml``, every plan counts.

A plan is untrusted metadata that tmt reads on this host. So tmt runs in a sandbox: it cannot see the user's home or the
state folder, and can write only to the folder of the run. No plan may run commands outside of the guest (tmt's "feeling
safe" stays off), so a plan cannot force a reboot of the guest.
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

_END_SECONDS = 20.0  # for the guest to shut down, on an idle machine with KVM
_STAND_IN = b"""\
#!/usr/bin/bash
# Replaces dnf in a guest without repositories: installs nothing, and fails for what the guest does not have.
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
    """Run every enabled plan, in one guest with the package's files.

    :raises CannotRun: if a package is for another target or needs a missing library, or QEMU, the guest kernel, rsync,
        git or bubblewrap is missing.
    """
    # The path of a socket has at most 108 bytes, so the folder is directly below the temporary folder.
    with tempfile.TemporaryDirectory(prefix="kitten-tmt-") as folder:
        return _run(dataclasses.replace(request, scratch=Path(folder)))


def _run(request: Request) -> Report:
    tree = request.scratch / "tree"
    _lay_out(request.fmf, tree)
    try:
        plans = find_plans(tree, context(request.site, request.target)) if request.fmf else {}
        gates = _required(request.fmf, request.site.sources.gating_products)
    except (fmf.utils.GeneralError, gating.GatingError) as error:
        return _failed_report("metadata", " ".join(str(error).split()))
    if not any(plans.values()):
        what = "every plan of the package is disabled" if plans else "the package has no plans"
        return _failed_report(
            "plans", f"{what}, so nothing was tested: its dist-git repository needs .fmf/version and plans/*.fmf"
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
        with saved.start_guest(
            base,
            payload,
            request.logs,
            room=installed.room,
            arguments=entry.arguments,
            inherited=entry.inherited,
        ) as running:
            results = run_plans(
                request, base, entry, [plan for plan, enabled in plans.items() if enabled], running, limit
            )
            talk = running.finish(_END_SECONDS * factor)
    disabled = [plan for plan, enabled in plans.items() if not enabled]
    cases = (*map(_without_number, judge(talk, limit)), *installed.cases, *suite_cases(results, disabled, gates))
    return Report.of_guests(base, cases)


def _required(files: Mapping[str, bytes], products: Collection[str]) -> tuple[str, ...] | None:
    """The test cases that ``gating.yaml`` requires; None if it has no policy about one of the products."""
    return (
        gating.required_cases(gating.read(files[GATING_FILE].decode(errors="replace")), products)
        if GATING_FILE in files
        else None
    )


def _failed_report(name: str, reason: str) -> Report:
    return Report.without_guest(Case(name=name, outcome="failed", reason=reason))


def _lay_out(files: Mapping[str, bytes], tree: Path) -> None:
    for name, data in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755)


@dataclasses.dataclass(frozen=True)
class _Installed:
    """The parts of a guest with the packages under test."""

    base: Base
    cases: tuple[Case, ...] = ()
    laid_out: tuple[tuple[Entry, ...], ...] = ()
    scripts: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    files: Mapping[str, bytes | Path] = dataclasses.field(default_factory=dict)
    room: int = 0


def _installation(request: Request) -> _Installed:
    """Add the packages to a guest: rpm installs them in a root guest; a cloud image gets their unpacked files."""
    if request.target.machine.image is not None:
        base = file_system.base(request.target)
        entries = package_files.unpack_with_needs(
            request.site, request.target, request.state, request.packages, request.scratch, request.extra
        )
        return _Installed(base, laid_out=entries)
    base = rpmtools.root_base(request.site, request.target)
    if not request.packages:
        return _Installed(base)
    step = packages.installation(request, rpmtools.loader(base.parts))
    return _Installed(base, step.cases, scripts=step.scripts, files=step.files, room=step.room)


def _without_number(case: Case) -> Case:
    """Remove the number of the installation's script (``lifecycle``) from the name of a case."""
    return case.model_copy(update={"name": re.sub(r"^001-(\w+)\.sh", r"\1", case.name)})
