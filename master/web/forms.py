"""The forms with which people start builds."""

from __future__ import annotations

from typing import Any

from buildbot.plugins import schedulers, util

from config.models import Site
from master.housekeeping import composed_stages
from master.runs import LAB_FORM, PROMOTE_FORM, runnable_suites
from steps.housekeeping import REMOVE, STAGE
from steps.names import CLEAN, COMPOSE, LAB, PROMOTE, SOURCE


def plain_form(name: str, builder: str, label: str, properties: list[Any]) -> schedulers.ForceScheduler:
    """Return a force scheduler without fields for a commit.

    :param label: label of the form and of its button.
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
    """Return the field for the reason of a build."""
    return util.StringParameter(name="reason", label="Reason", default="requested in the web UI", size=60, maxsize=200)


def priority() -> Any:
    """Return a hidden field: the build queue decides the order of builds, not a form."""
    return util.IntParameter(name="priority", default=0, hide=True)


def build_form(site: Site) -> schedulers.ForceScheduler:
    """Return the form of the builder ``source``."""
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
    """Return the form of the builder ``promote``, for users that may override the gate (master.web.authz)."""
    signing = site.stage_for("signing")
    rules = [rule for stage in site.signed_stages if stage != signing for rule in stage.overridable]
    return plain_form(
        PROMOTE_FORM,
        PROMOTE,
        "Promote packages",
        [
            util.ChoiceStringParameter(
                name="packages",
                label="Packages, all or none of them (none chosen: all that wait and pass the gate)",
                choices=[package.name for package in site.packages],
                multiple=True,
                strict=True,
                default="",
            ),
            util.ChoiceStringParameter(
                name="override",
                label="Rules of the gate to override",
                choices=list(dict.fromkeys(rules)),
                multiple=True,
                strict=True,
                default="",
            ),
            util.StringParameter(
                name="override_reason",
                label="Reason for the override (recorded with the packages)",
                default="",
                size=60,
                maxsize=500,
            ),
        ],
    )


def suites_form(site: Site) -> schedulers.ForceScheduler:
    """Return the form of the builder ``lab``. The command refuses a suite that is not for the chosen target."""
    suites_by_target = runnable_suites(site)
    return plain_form(
        LAB_FORM,
        LAB,
        "Test a target",
        [
            util.ChoiceStringParameter(
                name="target",
                label="Target",
                choices=list(suites_by_target),
                default=next(iter(suites_by_target)),
                strict=True,
                required=True,
            ),
            util.ChoiceStringParameter(
                name="suites",
                label="Suites (none chosen: all of the target)",
                choices=list(dict.fromkeys(name for suites in suites_by_target.values() for name in suites)),
                multiple=True,
                strict=True,
                default="",
            ),
            util.BooleanParameter(name="quick", label="Quick: only the shortest proof of each suite", default=False),
        ],
    )


def housekeeping_forms(site: Site) -> list[Any]:
    """Return the forms of ``clean`` and ``compose``, for all users that may start builds.

    They are harmless: retention.yaml decides what is removed.
    """
    forms = [
        plain_form(
            f"force-{CLEAN}",
            CLEAN,
            "Clean the artifact store",
            [
                util.BooleanParameter(
                    name=REMOVE, label="Remove (if not set: only show what would be removed)", default=False
                )
            ],
        )
    ]
    if stages := [stage.name for stage, _ in composed_stages(site)]:
        choice = util.ChoiceStringParameter(
            name=STAGE, label="Stage", choices=stages, default=stages[-1], strict=True, required=True
        )
        forms.append(plain_form(f"force-{COMPOSE}", COMPOSE, "Compose for mirrors", [choice]))
    return forms
