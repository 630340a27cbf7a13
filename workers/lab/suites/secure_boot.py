"""The ``secure-boot`` suite: with Secure Boot on, signed images boot, and each link of the chain refuses unsigned ones.

The packages under test bring the chain; without packages it is Debian's (``uefi.parts``). A case passes because of a
message on the console or the report of the guest, never because of a time limit. The control of the refusals: the
refused images boot with Secure Boot off, and there every check of the guest fails.
"""

from __future__ import annotations

import contextlib
import os
import re
import time

import click

from workers.base.errors import CannotRun, MalformedError
from workers.formats import fat
from workers.lab.guest import file_system, saved
from workers.lab.judge import judge
from workers.lab.machine.command_line import Boot, Drive
from workers.lab.machine.launch import anonymous_file, launch_guest
from workers.lab.suites import Report, Request
from workers.lab.suites.secure_boot_trials import Trial, TrialSetup, signature_cases, signer_names, trials
from workers.lab.suites.secure_boot_verdicts import SCRIPT, SCRIPT_NAME, is_decided, report_cases, verdict
from workers.lab.uefi import parts, signing, variables
from workers.repository.buildroot import staged_folder
from workers.results import Case

_FIRMWARE_SECONDS = 30.0  # until the firmware, the shim or the loader prints a message; on an idle machine with KVM


def run(request: Request) -> Report:
    """Run all trials.

    :raises CannotRun: if the firmware, a link of the chain or sbsign is missing.
    :raises LaunchFailedError: if QEMU does not start.
    """
    try:
        return _run(request)
    except MalformedError as error:
        raise CannotRun(f"a part of the chain is damaged: {error}", "build the package again") from None


def _run(request: Request) -> Report:
    setup = _trial_setup(request)
    signers = signing.signers(setup.chain.shim, setup.microsoft)
    click.echo(f"the chain: {setup.chain.origin}; its shim is signed with certificates of {signer_names(signers)}")
    cases = list(signature_cases(setup.chain, signers))
    left = request.suite.timeout_seconds * saved.time_factor(setup.base)
    for trial in trials(setup, signers, quick=request.quick):
        found = _attempt(setup, trial, left)
        left = max(0.0, left - found[0].seconds)
        click.echo(f"{found[0].seconds:6.1f} s  {trial.name}")
        cases += found
    cpu = setup.machine.cpu_under(setup.base.accelerator.name)
    facts = {"chain": setup.chain.origin, "shim signed by": signer_names(signers)}
    return Report.of_guests(setup.base, cases, cpu=cpu, kernel=setup.chain.release, extra=facts)


def _trial_setup(request: Request) -> TrialSetup:
    target = request.target
    try:
        machine = target.machine.variant("secure-boot")
    except KeyError as error:
        raise CannotRun(f"{target.name}: {error.args[0]}", "add it to targets.yaml") from None
    base = file_system.base(target)
    staged = staged_folder(request.site, request.state, target)
    chain = parts.chain(target, (*request.packages, *request.extra), staged, request.scratch / "packages")
    return TrialSetup(
        base=base,
        machine=machine,
        firmware=parts.firmware(target, machine),
        chain=chain,
        owner=signing.new_key("owner", request.scratch),
        stranger=signing.new_key("stranger", request.scratch),
        microsoft=variables.microsoft_certificates(),
        payload=file_system.payload_archive(
            tests={SCRIPT_NAME: SCRIPT.encode()},
            files={
                "/kitten/unsigned.ko": chain.unsigned_module,
                "/kitten/signed.ko": chain.modules[parts.PROBE_MODULE],
            },
        ),
        logs=request.logs,
        scratch=request.scratch,
    )


def _attempt(setup: TrialSetup, trial: Trial, left: float) -> tuple[Case, ...]:
    """Boot, and make the cases of a trial. The first case is the verdict; it has the seconds.

    :param left: seconds that the suite has left. The time that the guest waits for memory on this host does not count.
    """
    with contextlib.ExitStack() as stack:
        boot = _boot(setup, trial, stack)
        name = re.sub(r"[^a-z0-9]+", "-", trial.name.lower())
        running = stack.enter_context(launch_guest(boot, setup.logs, name))
        begun = time.monotonic()
        running.go()
        limit = min(left, _FIRMWARE_SECONDS * saved.time_factor(setup.base))
        running.wait(lambda talk: is_decided(trial, talk), limit)
        case = verdict(trial, running.talk, limit)
        further: tuple[Case, ...] = ()
        if case.outcome == "passed" and trial.until == "report" and not trial.refused_by:
            saved.send_go(running)
            limit = max(0.0, left - (time.monotonic() - begun))
            further = report_cases(trial, judge(running.finish(limit), limit))
        elif not running.talk.tap:
            (setup.logs / f"{name}-tap.log").unlink()  # an empty log
        return (case.model_copy(update={"seconds": round(time.monotonic() - begun, 3)}), *further)


def _boot(setup: TrialSetup, trial: Trial, stack: contextlib.ExitStack) -> Boot:
    code, template = setup.firmware
    store = (
        template
        if trial.trusted is None
        else variables.store_that_trusts(template, setup.owner.certificate, trial.trusted)
    )
    partition, size = fat.image(trial.files)
    files = []
    for content, least in ((store, 0), (partition, size), (setup.payload, 0)):
        files.append(anonymous_file(content, size=least))
        stack.callback(os.close, files[-1])
    flash, disk, payload = (f"/proc/self/fd/{file}" for file in files)
    return Boot(
        machine=setup.machine,
        accelerator=setup.base.accelerator.name,
        flash=(str(code), flash),
        drives=(Drive("esp", disk, boot_order=0), Drive("payload", payload)),
        inherited=tuple(files),
    )
