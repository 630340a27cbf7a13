"""The commands ``kitten stage``, ``publish``, ``promote``, ``published``, ``rollback`` and ``install-check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options
from workers.base.command import conclude
from workers.promotion.command import overridable
from workers.repository import command
from workers.repository.command import console

if TYPE_CHECKING:
    from config.models import Site
    from workers.promotion.gate.override import Overrides
    from workers.results import PublishResult

_target = click.option("--target", "target_name", required=True, help="A target of targets.yaml.")
_build = click.option(
    "--build", "build_url", required=True, help="Folder that `kitten build` made: a path or fsspec URL."
)


@click.command()
@_target
@_build
@options.json
@options.site
@options.state
def stage(target_name: str, build_url: str, json_file: Path | None, site_name: str, state_folder: Path | None) -> None:
    """Put a build into the buildroot repository of its target.

    It replaces the staged packages of the same source package, without debuginfo. Staging a build again changes
    nothing.
    """
    from workers.promotion.stage import stage as work
    from workers.results import StageResult

    def stage_build() -> StageResult:
        site, state = options.site_and_state(site_name, state_folder)
        return work(site, state, target_name, build_url)

    conclude(StageResult, json_file, stage_build, known={"target": target_name})


@click.command()
@_target
@_build
@click.option("--stage", "stage_name", default="", help="A signed stage of stages.yaml.  [default: the first]")
@click.option(
    "--base-rpm",
    type=click.Path(path_type=Path),
    help="The package for the base system.  [default: that of the sandbox, if the site has a repository for it]",
)
@overridable
@options.json
@options.site
@options.state
def publish(
    target_name: str,
    build_url: str,
    stage_name: str,
    base_rpm: Path | None,
    overrides: Overrides,
    json_file: Path | None,
    site_name: str,
    state_folder: Path | None,
) -> None:
    """Check a build at the gate, sign it and publish it.

    The gate of the stage checks the build (see kitten gate). If it passes, its packages are signed with the
    distribution's key, which is made on first use, and one rename shows them to users. Publishing a build again changes
    nothing.

    kitten promote moves packages from the first signed stage to the next.
    """
    from workers.promotion.publish import publish as work
    from workers.results import PublishResult

    def publication() -> PublishResult:
        site, state = options.site_and_state(site_name, state_folder)
        base = base_rpm or _sandbox_base(site, target_name)
        return work(site, state, target_name, build_url, stage_name=stage_name, base_rpm=base, overrides=overrides)

    conclude(PublishResult, json_file, publication, known={"target": target_name})


def _sandbox_base(site: Site, target_name: str) -> Path | None:
    """The package for the base system; None if the site has no repository for it."""
    from workers.repository.placement import BASE
    from workers.sandbox.base_package import sandbox_base

    if not any(repository.name == BASE for repository in site.repositories.repositories):
        return None
    return next((sandbox_base(site, target) for target in site.targets if target.name == target_name), None)


@click.command()
@click.argument("packages", nargs=-1)
@command.stage
@overridable
@options.json
@options.site
@options.state
def promote(
    packages: tuple[str, ...],
    stage_name: str,
    overrides: Overrides,
    json_file: Path | None,
    site_name: str,
    state_folder: Path | None,
) -> None:
    """Move packages from the previous signed stage to a stage, if they pass its gate over all targets.

    PACKAGES are moved as one set, with the packages that they need, by one switch; without PACKAGES, everything that
    waits and passes. A package that waits for a target is listed, and is no failure. Nothing is signed again: users get
    the files that were tested.

    \b
      kitten promote                     everything that passes
      kitten promote spice spice-gtk     both together, or neither
      kitten promote spice --override same-newest --reason "s390x has no SPICE" --as release

    Exit status: 0 passed, there already, or waiting; 1 refused (with rule, build, target and hint).
    """  # noqa: D301 - click's mark for lines that stay as they are
    from workers.promotion.promote import promote as work
    from workers.results import PromoteResult

    def promotion() -> PromoteResult:
        site, state = options.site_and_state(site_name, state_folder)
        return work(site, state, stage_name, packages, overrides=overrides)

    conclude(PromoteResult, json_file, promotion, known={"stage": stage_name})


@click.command()
@command.stage
@click.option("--to", type=int, help="Number of the snapshot.  [default: the one before]")
@options.site
@options.state
def rollback(stage_name: str, to: int | None, site_name: str, state_folder: Path | None) -> None:
    """Switch a stage's repositories back to an earlier snapshot.

    This is a publication like any other: it gets a number, and can be rolled back. If the gate has the rule
    not-taken-back, the removed versions do not come back without an override.
    """
    from workers.promotion.rollback import rollback as work

    site, state = options.site_and_state(site_name, state_folder)
    click.echo(work(site, state, to, stage_name=stage_name))


@click.command()
@command.stage
@click.option("--json", "as_json", is_flag=True, help="Print the records as a JSON list.")
@options.site
@options.state
def published(stage_name: str, as_json: bool, site_name: str, state_folder: Path | None) -> None:
    """List the build of each package that users of each target see."""
    from workers.repository.state import published as read

    site, state = options.site_and_state(site_name, state_folder)
    records = [record for _, record in sorted(read(site, state, stage_name).items())]
    if as_json:
        import json

        click.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=1))
        return
    from rich.table import Table

    terminal = console()
    table = Table("package", "target", "version", "commit", "snapshot", "published", box=None)
    for r in records:
        table.add_row(r.package, r.target, r.nevr, r.commit[:12], str(r.snapshot), r.published)
    if records:
        terminal.print(table)
    else:
        click.echo("nothing is published yet")


@click.command("install-check")
@_target
@command.stage
@click.argument("packages", nargs=-1)
@options.site
@options.state
def install_check(
    target_name: str, stage_name: str, packages: tuple[str, ...], site_name: str, state_folder: Path | None
) -> None:
    """Install published packages with dnf into an empty root, with both signature checks on.

    Without PACKAGES: everything published for the target, except debuginfo. The root is removed at the end.
    """
    from workers.repository.client import install

    site, state = options.site_and_state(site_name, state_folder)
    installed = install(site, state, target_name, packages, stage_name=stage_name)
    click.echo(f"dnf installed {len(installed)} packages for {target_name}: {' '.join(installed)}")
