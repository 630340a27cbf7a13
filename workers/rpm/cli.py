"""``kitten build`` and ``kitten sandbox``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers import options
from workers.errors import CannotRun, DidNotHold

if TYPE_CHECKING:
    from workers.results import BuildResult


@click.command()
@click.option("--target", "target_name", required=True, metavar="TARGET", help="A target of targets.yaml.")
@click.option("--source", metavar="URL", default="", help="Folder that kitten source made.")
@click.option("--srpm", metavar="PATH-OR-URL", default="", help="An SRPM by itself.")
@click.option("--trial", is_flag=True, help="A try-build: kept apart from builds, staged and published nowhere.")
@options.json
@options.site
@options.state
def build(
    target_name: str,
    source: str,
    srpm: str,
    trial: bool,
    json_file: Path | None,
    site_name: str,
    state_folder: Path | None,
) -> None:
    """Build a source package for one target.

    BuildRequires come from what the target has staged. The result lies in ARTIFACTS/builds/TARGET/IDENTITY/, where IDENTITY
    is the hash of all that went in: what was built once is found, not built again. A failed build's log is kept below
    ARTIFACTS/failed/.
    """
    from workers.results import BuildResult

    try:
        result = _build(target_name, source, srpm, trial, site_name, state_folder)
    except (CannotRun, DidNotHold) as error:
        if json_file is not None:
            outcome = "cannot-run" if isinstance(error, CannotRun) else "not-held"
            first = str(error).splitlines()[0]
            BuildResult(outcome=outcome, summary=first, cause=first, target=target_name, package="", nevr="").write(
                json_file
            )
        raise
    if json_file is not None:
        result.write(json_file)
    for log in result.logs:
        click.echo(f"  {log.url}")
    if result.outcome != "held":
        raise DidNotHold(f"{result.nevr} on {result.target}: {result.cause}")
    click.echo(f"{result.summary}{' (reused)' if result.reused else ''}")
    click.echo(f"  {result.url}")


def _build(
    target_name: str, source: str, srpm: str, trial: bool, site_name: str, state_folder: Path | None
) -> BuildResult:
    if bool(source) == bool(srpm):
        raise CannotRun("what to build is not clear", "give --source (a folder that kitten source made) or --srpm")
    from workers.rpm.build import Order, backend, build
    from workers.rpm.sandboxed import staged_folder

    site, folder = options.opened(site_name, state_folder)
    target = options.named_target(site, target_name)
    order = Order(site, folder, target, source, srpm, trial)
    return build(order, backend(site, target, staged_folder(site, folder, target)))


@click.command()
@click.option("--shell", metavar="TARGET", help="Enter it as a build of TARGET sees it; what you write is thrown away.")
@click.option("--base-rpm", metavar="TARGET", help="Print the path of the target's sandbox-base RPM.")
@options.site
@options.state
def sandbox(shell: str | None, base_rpm: str | None, site_name: str, state_folder: Path | None) -> None:
    """Make the sandbox tree that builds run in, or look into it.

    A Debian userland with rpm and the compilers of every target, made once (about a minute and 1.6 GB) and kept in the cache.
    """
    site, _ = options.opened(site_name, state_folder)
    if base_rpm:
        from workers.rpm.base import sandbox_base

        click.echo(sandbox_base(site, options.named_target(site, base_rpm)))
    elif shell:
        from workers.rpm.shell import enter

        raise SystemExit(enter(site, options.named_target(site, shell)))
    else:
        from workers.rpm.tree import describe

        click.echo(describe(site))
