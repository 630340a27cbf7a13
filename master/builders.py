"""The builders: ``source``, one for each target, ``promote``, ``lab``, ``clean`` and ``compose``; and those for try-builds.

Try-builds have no key and no repository. The package is a property of a build, never a builder of its own.
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
from steps.repo import PromoteStep, PublishStep, StageStep, has_a_build
from steps.source import SourceStep
from steps.verify import VerifyStep

PUBLISHING = util.MasterLock("publishing")
OTHER_MINUTES = 30  # source, verify, stage, publish: none of them compiles


def target_scheduler_name(target: str) -> str:
    """Name of the scheduler through which ``source`` starts a target's builder."""
    return f"to-{target}"


def try_scheduler_name(target: str) -> str:
    """Name of the scheduler through which ``try`` starts a target's try-builder."""
    return f"to-{try_builder(target)}"


TO_PROMOTE = "to-promote"


def is_skipped(results: int, step: Any) -> bool:  # noqa: ARG001 - Buildbot's signature
    """Whether a step did nothing, and need not be shown."""
    return bool(results == SKIPPED)


def _step_options(installation: Installation, minutes: int = OTHER_MINUTES) -> dict[str, Any]:
    return {
        "installation": installation,
        "state_folder": util.Property("state_folder"),
        "timeout_factor": util.Property("timeout_factor", default=1.0),
        "time_limit": minutes * 60,
    }


def _suite_step_options(installation: Installation, seconds: Iterable[float]) -> dict[str, Any]:
    """The same for a step of suites: each knows its own limit, and under emulation says nothing for long.

    :param seconds: the most that suites may take, for each choice of them that the step may have to run.
    """
    limit = OTHER_MINUTES * 60 + max(seconds, default=0.0)  # guests are made from what is fetched first
    return _step_options(installation) | {"time_limit": limit, "silence_limit": limit}


def source_factory(
    site: Site, installation: Installation, schedulers: Mapping[str, str], *, trial: bool = False
) -> BuildFactory:
    """Source package, then hand it to the targets.

    :param schedulers: target → scheduler that starts its builder.
    :param trial: for try-builds, whose results are kept apart.
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
    """Build, verify, test: what a build and a try-build of a target have in common."""
    here = ["--target", target.name]
    built = ["--build", util.Property("build_url")]
    minutes = site.build.timeout_minutes
    # A proof that no stage asks for is not made.
    asked = {proof for stage in site.stages for proof in stage.requires}
    arguments = ["build", *here, "--source", util.Property("source_url"), *(["--trial"] if trial else [])]
    steps: list[Any] = [BuildRpmsStep(arguments=arguments, **_step_options(installation, minutes))]
    if "verified" in asked:
        steps.append(VerifyStep(arguments=["verify", *here, *built], **_step_options(installation)))
    if "tested" in asked:
        suites = {p.name: site.suites_of(target, p) for p in site.packages if target in site.targets_of(p)}
        told = _suite_step_options(installation, (site.longest(target, chosen) for chosen in suites.values()))
        steps.append(GuestTestStep(arguments=["test", *here, *built], suites=suites, **told))
    return steps


def target_factory(site: Site, target: Target, installation: Installation) -> BuildFactory:
    """Everything a target does with a source package. What fails its proof or its tests is never staged."""
    stage = ["stage", "--target", target.name, "--build", util.Property("build_url")]
    steps = [*proof_steps(site, target, installation), StageStep(arguments=stage, **_step_options(installation))]
    if site.signed_stages:
        steps.append(HandToPromote(scheduler=TO_PROMOTE))
    return factory(steps)


def promote_factory(site: Site, installation: Installation) -> BuildFactory:
    """From the stage where packages are signed to that of users, each time through the gate."""
    told = _step_options(installation)
    steps: list[Any] = []
    for stage in site.signed_stages:
        to_users = stage == site.stage_for("users")
        if stage == site.stage_for("signing"):
            words = ["publish", "--target", util.Property("target"), "--build", util.Property("build_url")]
            more = {"arguments": [*words, "--stage", stage.name], "doStepIf": has_a_build, "hideStepIf": is_skipped}
            steps.append(PublishStep(to_users=to_users, **more, **told))
        else:
            words = ["promote", "--stage", stage.name]
            steps.append(PromoteStep(name=promote_to(stage.name), to_users=to_users, arguments=words, **told))
    return factory(steps)


def promotes_between_stages(site: Site) -> bool:
    """Whether users get packages from a signed stage before, not from builds."""
    return len(site.signed_stages) > 1


def lab_factory(site: Site, installation: Installation) -> BuildFactory:
    """Suites of a target, without a package."""
    suites = runnable_suites(site)
    told = _suite_step_options(installation, (site.longest(site.target(name), chosen) for name, chosen in suites.items()))
    arguments = ["test", "--target", util.Property("target")]
    return factory([TargetTestStep(arguments=arguments, suites=suites, **told)])


def _builder(site: Site, name: str, workers: Sequence[str], steps: BuildFactory, **more: Any) -> util.BuilderConfig:
    return util.BuilderConfig(
        name=name,
        workernames=list(workers),
        factory=steps,
        project=site.distribution.name,
        # Builds of one builder differ by property; collapsing would skip packages.
        **{"collapseRequests": False, **more},
    )


def builders(site: Site, installation: Installation) -> list[util.BuilderConfig]:
    """All builders of a site."""
    made = [
        _builder(
            site,
            SOURCE,
            worker_names(site, "source"),
            source_factory(site, installation, {target.name: target_scheduler_name(target.name) for target in site.targets}),
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
    made += _housekeeping(site, installation)
    if runnable_suites(site):
        made.append(
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
    return made + (try_builders(site, installation) if has_try_workers(site) else [])


def _housekeeping(site: Site, installation: Installation) -> list[util.BuilderConfig]:
    """What the service does for itself, where the key and the repositories are."""
    more: dict[str, Any] = {
        "tags": ["housekeeping", "production"],
        "locks": [housekeeping.HOUSEKEEPING.access("exclusive")],
        "collapseRequests": housekeeping.is_duplicate_request,
    }
    workers, told = worker_names(site, "publish"), _step_options(installation)
    made = [
        _builder(
            site,
            CLEAN,
            workers,
            housekeeping.clean_factory(told),
            description="Removes builds and sources that nobody needs any more, as retention.yaml says",
            **more,
        )
    ]
    if housekeeping.composed_stages(site):
        made.append(
            _builder(
                site,
                COMPOSE,
                workers,
                housekeeping.compose_factory(told),
                description="What is published → an immutable tree that mirrors copy",
                **more,
            )
        )
    return made


def try_builders(site: Site, installation: Installation) -> list[util.BuilderConfig]:
    """Try-builds: the same proof, on workers that hold no key and can write to no repository."""
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
