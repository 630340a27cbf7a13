"""The forms by which people start builds."""

from __future__ import annotations

from typing import Any

from buildbot.plugins import schedulers, util

from config.models import Site
from master.housekeeping import composed_stages
from master.runs import LAB_FORM, PROMOTE_FORM, runnable_suites
from steps.housekeeping import REMOVE, STAGE
from steps.names import CLEAN, COMPOSE, LAB, PROMOTE, SOURCE


def plain_form(name: str, builder: str, label: str, properties: list[Any]) -> schedulers.ForceScheduler:
    """A force scheduler.

    :param label: of the form and of the button that opens it.
    """
    nothing = {
        field: util.FixedParameter(name=field, default="") for field in ("branch", "revision", "repository", "project")
    }
    return schedulers.ForceScheduler(
        name=name,
        builderNames=[builder],
        label=label,
        buttonName=label,
        reason=reason(),
        priority=priority(),
        codebases=[util.CodebaseParameter(codebase="", hide=True, **nothing)],
        properties=properties,
    )


def reason() -> Any:
    """Why somebody starts a build."""
    return util.StringParameter(name="reason", label="Reason", default="asked for", size=60, maxsize=200)


def priority() -> Any:
    """What comes first is decided by what others wait for, not in a form."""
    return util.IntParameter(name="priority", default=0, hide=True)


def build_form(site: Site) -> schedulers.ForceScheduler:
    """The form on the builder ``source``."""
    return schedulers.ForceScheduler(
        name="force",
        builderNames=[SOURCE],
        label="Build a package",
        buttonName="Build a package",
        reason=reason(),
        priority=priority(),
        codebases=[
            util.CodebaseParameter(
                codebase="",
                label="dist-git",
                branch=util.ChoiceStringParameter(
                    name="branch",
                    label="Branch (empty: the preferred one)",
                    choices=["", *site.sources.branches],
                    default="",
                    strict=True,
                ),
                revision=util.StringParameter(
                    name="revision", label="Commit (empty: newest)", default="", regex=r"^([0-9a-f]{7,64})?$"
                ),
                repository=util.FixedParameter(name="repository", default=""),
                project=util.FixedParameter(name="project", default=""),
            )
        ],
        properties=[
            util.ChoiceStringParameter(
                name="package",
                label="Package",
                choices=[package.name for package in site.packages],
                default=site.packages[0].name if site.packages else "",
                strict=True,
                required=True,
            ),
            util.ChoiceStringParameter(
                name="targets",
                label="Targets (none chosen: all)",
                choices=[target.name for target in site.targets],
                multiple=True,
                strict=True,
                default="",
            ),
        ],
    )


def promote_form(site: Site) -> schedulers.ForceScheduler:
    """The form on the builder ``promote``: for who may override the gate (master.web.authz)."""
    signing = site.stage_for("signing")
    rules = [rule for stage in site.signed_stages if stage != signing for rule in stage.overridable]
    return plain_form(
        PROMOTE_FORM,
        PROMOTE,
        "Let packages pass",
        [
            util.ChoiceStringParameter(
                name="packages",
                label="Packages, together or not at all (none chosen: all that wait and may)",
                choices=[package.name for package in site.packages],
                multiple=True,
                strict=True,
                default="",
            ),
            util.ChoiceStringParameter(
                name="override",
                label="Rules of the gate that they may break",
                choices=list(dict.fromkeys(rules)),
                multiple=True,
                strict=True,
                default="",
            ),
            util.StringParameter(
                name="override_reason", label="Why they may (kept with the packages)", default="", size=60, maxsize=500
            ),
        ],
    )


def suites_form(site: Site) -> schedulers.ForceScheduler:
    """The form on the builder. A suite that is not for the chosen target is refused by the command, in words."""
    able = runnable_suites(site)
    return plain_form(
        LAB_FORM,
        LAB,
        "Test a target",
        [
            util.ChoiceStringParameter(
                name="target", label="Target", choices=list(able), default=next(iter(able)), strict=True, required=True
            ),
            util.ChoiceStringParameter(
                name="suites",
                label="Suites (none chosen: all of the target)",
                choices=list(dict.fromkeys(name for suites in able.values() for name in suites)),
                multiple=True,
                strict=True,
                default="",
            ),
            util.BooleanParameter(name="quick", label="Only the shortest proof of each", default=False),
        ],
    )


def housekeeping_forms(site: Site) -> list[Any]:
    """A form on each of the builders. Whoever may start builds may fill them in: what goes, retention.yaml says."""
    made = [
        plain_form(
            f"force-{CLEAN}",
            CLEAN,
            "Clean the artifact store",
            [util.BooleanParameter(name=REMOVE, label="Remove it (else: only tell what would go)", default=False)],
        )
    ]
    if stages := [stage.name for stage, _ in composed_stages(site)]:
        choice = util.ChoiceStringParameter(
            name=STAGE, label="Stage", choices=stages, default=stages[-1], strict=True, required=True
        )
        made.append(plain_form(f"force-{COMPOSE}", COMPOSE, "Compose for mirrors", [choice]))
    return made
