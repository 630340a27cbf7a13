"""``kitten stage``, ``publish``, ``published``, ``rollback`` and ``install-check``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers import options
from workers.errors import CannotRun, DidNotHold

if TYPE_CHECKING:
    from config.models import Site
    from workers.results import Result

_target = click.option("--target", "target_name", required=True, help="One of targets.yaml.")
_build = click.option(
    "--build", "build_url", required=True, help="Folder that `kitten build` made: a path or fsspec URL."
)


def _report(work: Callable[[], Result], kind: type[Result], target: str, json_file: Path | None) -> None:
    """Do the work, write its result file, tell its summary; one that could not run leaves a result file too."""
    try:
        result = work()
    except CannotRun as error:
        if json_file:
            unknown = {"target": target, "package": "", "nevr": "", "stage": ""}
            known = {name: value for name, value in unknown.items() if name in kind.model_fields}
            words = {"outcome": "cannot-run", "summary": error.what, "cause": error.what}
            kind.model_validate({**known, **words}).write(json_file)
        raise
    if json_file:
        result.write(json_file)
    if result.outcome != "held":
        raise DidNotHold(f"{result.summary}\n{result.cause}" if "\n" in result.cause else result.summary)
    click.echo(result.summary)


@click.command()
@_target
@_build
@options.json
@options.site
@options.state
def stage(target_name: str, build_url: str, json_file: Path | None, site_name: str, state_folder: Path | None) -> None:
    """Put a build into the buildroot repository of its target.

    It replaces what was staged of the same package; debuginfo packages are left out. Staging a build again changes
    nothing.
    """
    from workers.repo.stage import stage as work
    from workers.results import StageResult

    site, state = options.opened(site_name, state_folder)
    _report(lambda: work(site, state, target_name, build_url), StageResult, target_name, json_file)


@click.command()
@_target
@_build
@click.option("--stage", "stage_name", default="kitten", show_default=True, help="A signed one of stages.yaml.")
@click.option(
    "--base-rpm",
    type=click.Path(path_type=Path),
    help="The package that stands for the base system.  [default: the sandbox's, where the site has a repository for it]",
)
@click.option("--force", is_flag=True, help="Publish a version older than the published one.")
@options.json
@options.site
@options.state
def publish(
    target_name: str,
    build_url: str,
    stage_name: str,
    base_rpm: Path | None,
    force: bool,
    json_file: Path | None,
    site_name: str,
    state_folder: Path | None,
) -> None:
    """Gate, sign and publish a build.

    The proofs beside the build are held against what the stage requires. What passes is signed with the
    distribution's key, which is made on first use, and shown to users by one rename. Publishing a build again changes
    nothing.
    """
    from workers.repo.publish import publish as work
    from workers.results import PublishResult

    site, state = options.opened(site_name, state_folder)

    def go() -> PublishResult:
        stands = base_rpm or _sandbox_base(site, target_name)
        return work(site, state, target_name, build_url, stage_name=stage_name, base_rpm=stands, force=force)

    _report(go, PublishResult, target_name, json_file)


def _sandbox_base(site: Site, target_name: str) -> Path | None:
    """The package that stands for the base system, where the site publishes it."""
    from workers.repo.placement import BASE
    from workers.rpm.base import sandbox_base

    if not any(repository.name == BASE for repository in site.repositories.repositories):
        return None
    return next((sandbox_base(site, target) for target in site.targets if target.name == target_name), None)


@click.command()
@click.option("--to", type=int, help="Number of the snapshot.  [default: the one before]")
@options.site
@options.state
def rollback(to: int | None, site_name: str, state_folder: Path | None) -> None:
    """Switch the published repositories back to an earlier snapshot.

    That is a publication like any other: it gets a number, and can be rolled back.
    """
    from workers.repo.rollback import rollback as work

    click.echo(work(*options.opened(site_name, state_folder), to))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the records as a JSON list.")
@options.site
@options.state
def published(as_json: bool, site_name: str, state_folder: Path | None) -> None:
    """Tell which build of each package users of each target see."""
    from workers.repo.state import published as read

    records = [record for _, record in sorted(read(*options.opened(site_name, state_folder)).items())]
    if as_json:
        import json

        click.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a log has no width
    table = Table("package", "target", "version", "commit", "snapshot", "published", box=None)
    for r in records:
        table.add_row(r.package, r.target, r.nevr, r.commit[:12], str(r.snapshot), r.published)
    if records:
        console.print(table)
    else:
        click.echo("nothing is published yet")


@click.command("install-check")
@_target
@click.argument("packages", nargs=-1)
@options.site
@options.state
def install_check(target_name: str, packages: tuple[str, ...], site_name: str, state_folder: Path | None) -> None:
    """Install published packages with dnf into an empty root, both signature checks on.

    Without PACKAGES: everything published for the target except debuginfo. The root is removed afterwards.
    """
    from workers.repo.client import install

    installed = install(*options.opened(site_name, state_folder), target_name, packages)
    click.echo(f"dnf installed {len(installed)} packages for {target_name}: {' '.join(installed)}")
