"""The forms by which people start builds; that of the suites is in ``master.lab``."""

from __future__ import annotations

from buildbot.plugins import schedulers, util

from config.models import Site
from master.builders import PROMOTE, SOURCE
from master.plain_form import plain_form, priority, reason
from master.runs import PROMOTE_FORM


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
    """The form on the builder ``promote``: for who may override the gate (master.authz)."""
    first = next(number for number, stage in enumerate(site.stages) if stage.signed)
    rules = [rule for stage in site.stages[first + 1 :] for rule in stage.overridable]
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
