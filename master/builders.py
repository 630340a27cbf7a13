"""The builders: ``source``, one for each target, ``promote``, ``lab``, ``clean`` and ``compose``; and the try-builders.

Try-builds have no key and no repository. The package is a property of a build: no builder is for one package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from buildbot.plugins import util
from buildbot.process.factory import BuildFactory
from buildbot.process.results import SKIPPED

from config.models import Site, Target
from master import housekeeping, lab
from master.build_queue import may_start, next_request
from master.builds import factory
from master.pools import has_try_workers, worker_names
from master.runs import runnable_suites
from steps.build import BuildRpmsStep
from steps.command import Installation
from steps.handoff import HandToPromote, HandToTargets
from steps.lab import GuestTestStep, TargetTestStep
from steps.names import CLEAN, COMPOSE, LAB, PROMOTE, SOURCE, TRY, promote_to, try_builder
from steps.promotion import PromoteStep, PublishStep, StageStep, has_a_build
from steps.source import SourceStep
from steps.verify import VerifyStep

PUBLISHING = util.MasterLock("publishing")
OTHER_MINUTES = 30  # for source, verify, stage and publish, which compile nothing


def target_scheduler_name(target: str) -> str:
    """Return the name of the scheduler by which ``source`` starts a target's builder."""
    return f"to-{target}"


def try_scheduler_name(target: str) -> str:
    """Return the name of the scheduler by which ``try`` starts a target's try-builder."""
    return f"to-{try_builder(target)}"


TO_PROMOTE = "to-promote"


def is_skipped(results: int, step: Any) -> bool:  # noqa: ARG001 - Buildbot's signature
    """Answer ``hideStepIf``: whether the step was skipped, so that the page need not show it."""
    return bool(results == SKIPPED)


def _step_options(installation: Installation, minutes: int = OTHER_MINUTES) -> dict[str, Any]:
    return {
        "installation": installation,
        "state_folder": util.Property("state_folder"),
        "timeout_factor": util.Property("timeout_factor", default=1.0),
        "time_limit": minutes * 60,
    }


def _suite_step_options(installation: Installation, seconds: Iterable[float]) -> dict[str, Any]:
    """Return the options of a step that runs suites.

    Each suite has a time limit of its own, and an emulated guest may print nothing for a long time.

    :param seconds: for each selection of suites that the step may run, the most that it may take.
    """
    limit = OTHER_MINUTES * 60 + max(seconds, default=0.0)  # the step may fetch what its guests are made of first
    return _step_options(installation) | {"time_limit": limit, "silence_limit": limit}


def source_factory(
    site: Site, installation: Installation, schedulers: Mapping[str, str], *, trial: bool = False
) -> BuildFactory:
    """Return the steps of ``source``: make the source package, then start the targets.

    :param schedulers: target → scheduler that starts its builder.
    :param trial: for try-builds, whose results have their own folder.
    """
    arguments = ["source", "--package", util.Property("package"), *(["--trial"] if trial else [])]
    targets = {package.name: [target.name for target in site.targets_of(package)] for package in site.packages}
    return factory(
        [
            SourceStep(arguments=arguments, **_step_options(installation)),
            HandToTargets(schedulers=schedulers, targets=targets),
        ]
    )


def proof_steps(site: Site, target: Target, installation: Installation, *, trial: bool = False) -> list[Any]:
    """Return the steps build, verify and test, which a target's builds and try-builds share."""
    here = ["--target", target.name]
    built = ["--build", util.Property("build_url")]
    minutes = site.build.timeout_minutes
    # A proof that no stage requires is not made.
    required = {proof for stage in site.stages for proof in stage.requires}
    arguments = ["build", *here, "--source", util.Property("source_url"), *(["--trial"] if trial else [])]
    steps: list[Any] = [BuildRpmsStep(arguments=arguments, **_step_options(installation, minutes))]
    if "verified" in required:
        steps.append(VerifyStep(arguments=["verify", *here, *built], **_step_options(installation)))
    if "tested" in required:
        suites = {p.name: site.suites_of(target, p) for p in site.packages if target in site.targets_of(p)}
        options = _suite_step_options(installation, (site.suite_seconds(target, chosen) for chosen in suites.values()))
        steps.append(GuestTestStep(arguments=["test", *here, *built], suites=suites, **options))
    return steps


def target_factory(site: Site, target: Target, installation: Installation) -> BuildFactory:
    """Return the steps from a source package to the stage. A build that fails its proof or its tests is not staged."""
    stage = ["stage", "--target", target.name, "--build", util.Property("build_url")]
    steps = [*proof_steps(site, target, installation), StageStep(arguments=stage, **_step_options(installation))]
    if site.signed_stages:
        steps.append(HandToPromote(scheduler=TO_PROMOTE))
    return factory(steps)


def promote_factory(site: Site, installation: Installation) -> BuildFactory:
    """Return the steps from the first signed stage to the users' stage, each of them through the gate."""
    options = _step_options(installation)
    steps: list[Any] = []
    for stage in site.signed_stages:
        to_users = stage == site.stage_for("users")
        if stage == site.stage_for("signing"):
            command = ["publish", "--target", util.Property("target"), "--build", util.Property("build_url")]
            more = {"arguments": [*command, "--stage", stage.name], "doStepIf": has_a_build, "hideStepIf": is_skipped}
            steps.append(PublishStep(to_users=to_users, **more, **options))
        else:
            command = ["promote", "--stage", stage.name]
            steps.append(PromoteStep(name=promote_to(stage.name), to_users=to_users, arguments=command, **options))
    return factory(steps)


def promotes_between_stages(site: Site) -> bool:
    """Return whether users get packages from an earlier signed stage, not straight from builds."""
    return len(site.signed_stages) > 1


def lab_factory(site: Site, installation: Installation) -> BuildFactory:
    """Return the step that runs suites of a target without a package."""
    suites = runnable_suites(site)
    limits = (site.suite_seconds(site.target(name), chosen) for name, chosen in suites.items())
    options = _suite_step_options(installation, limits)
    arguments = ["test", "--target", util.Property("target")]
    return factory([TargetTestStep(arguments=arguments, suites=suites, **options)])


def _builder(site: Site, name: str, workers: Sequence[str], steps: BuildFactory, **more: Any) -> util.BuilderConfig:
    return util.BuilderConfig(
        name=name,
        workernames=list(workers),
        factory=steps,
        project=site.distribution.name,
        # The requests of one builder differ only by their properties: to collapse them would skip packages.
        **{"collapseRequests": False, **more},
    )


def builders(site: Site, installation: Installation) -> list[util.BuilderConfig]:
    """Return all builders of a site."""
    all_builders = [
        _builder(
            site,
            SOURCE,
            worker_names(site, "source"),
            source_factory(
                site, installation, {target.name: target_scheduler_name(target.name) for target in site.targets}
            ),
            tags=["source", "production"],
            description="dist-git commit → source package, once for all targets",
        ),
        *(
            _builder(
                site,
                target.name,
                worker_names(site, "build", target.name),
                target_factory(site, target, installation),
                tags=["target", "production"] + ([] if target.required else ["may lag"]),
                description=f"{target.description}: {target.isa_level}",
                properties={"target": target.name},
                canStartBuild=may_start,
                nextBuild=next_request,
            )
            for target in site.targets
        ),
        _builder(
            site,
            PROMOTE,
            worker_names(site, "publish"),
            promote_factory(site, installation),
            tags=["promote", "production"],
            description="Proven builds → signed, published repositories",
            locks=[PUBLISHING.access("exclusive")],
        ),
    ]
    all_builders += _housekeeping_builders(site, installation)
    if runnable_suites(site):
        all_builders.append(
            _builder(
                site,
                LAB,
                worker_names(site, "build"),
                lab_factory(site, installation),
                tags=["lab", "production"],
                description="Suites that test a target itself, in QEMU guests",
                canStartBuild=lab.may_start(site),
            )
        )
    return all_builders + (try_builders(site, installation) if has_try_workers(site) else [])


def _housekeeping_builders(site: Site, installation: Installation) -> list[util.BuilderConfig]:
    """Return the builders ``clean`` and ``compose``, on the worker that has the key and the repositories."""
    more: dict[str, Any] = {
        "tags": ["housekeeping", "production"],
        "locks": [housekeeping.HOUSEKEEPING.access("exclusive")],
        "collapseRequests": housekeeping.is_duplicate_request,
    }
    workers, options = worker_names(site, "publish"), _step_options(installation)
    housekeepers = [
        _builder(
            site,
            CLEAN,
            workers,
            housekeeping.clean_factory(options),
            description="Removes builds and sources that retention.yaml does not keep",
            **more,
        )
    ]
    if housekeeping.composed_stages(site):
        housekeepers.append(
            _builder(
                site,
                COMPOSE,
                workers,
                housekeeping.compose_factory(options),
                description="A published stage → an immutable tree that mirrors copy",
                **more,
            )
        )
    return housekeepers


def try_builders(site: Site, installation: Installation) -> list[util.BuilderConfig]:
    """Return the try-builders: the same steps and proof, on workers that have no key and can write to no repository."""
    schedulers = {target.name: try_scheduler_name(target.name) for target in site.targets}
    return [
        _builder(
            site,
            TRY,
            worker_names(site, "try"),
            source_factory(site, installation, schedulers, trial=True),
            tags=["source", "try"],
            description="A contributor's patch → source package for try-builds",
        ),
        *(
            _builder(
                site,
                try_builder(target.name),
                worker_names(site, "try", target.name),
                factory(proof_steps(site, target, installation, trial=True)),
                tags=["target", "try"],
                description=f"Try-builds on {target.description}: {target.isa_level}; nothing is staged or published",
                properties={"target": target.name},
            )
            for target in site.targets
        ),
    ]
