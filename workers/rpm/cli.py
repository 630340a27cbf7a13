"""``kitten build`` and ``kitten sandbox``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.errors import CannotRun, DidNotHold

if TYPE_CHECKING:
    from config.models import Site, Target
    from workers.results import BuildResult

_CHECKOUT = Path(__file__).parents[2]


def _options(function: Callable[..., None]) -> Callable[..., None]:
    site = click.option(
        "--site",
        "site_name",
        default="demo",
        show_default=True,
        envvar="KITTEN_SITE",
        help="Folder below config/, or a path.",
    )
    state = click.option(
        "--state", type=click.Path(path_type=Path), envvar="KITTEN_STATE", help="State folder. Default: var/SITE."
    )
    return site(state(function))


@click.command()
@click.option("--target", "target_name", required=True, metavar="TARGET", help="A target of targets.yaml.")
@click.option("--source", metavar="URL", default="", help="Folder that kitten source made.")
@click.option("--srpm", metavar="PATH-OR-URL", default="", help="An SRPM by itself.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the result there.")
@_options
def build(target_name: str, source: str, srpm: str, json_file: Path | None, site_name: str, state: Path | None) -> None:
    """Build a source package for one target.

    BuildRequires come from what the target has staged. The result lies in ARTIFACTS/builds/TARGET/IDENTITY/, where IDENTITY
    is the hash of all that went in: what was built once is found, not built again. A failed build's log is kept below
    ARTIFACTS/failed/.
    """
    from workers.results import BuildResult

    try:
        result = _build(target_name, source, srpm, site_name, state)
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


def _build(target_name: str, source: str, srpm: str, site_name: str, state: Path | None) -> BuildResult:
    if bool(source) == bool(srpm):
        raise CannotRun("what to build is not clear", "give --source (a folder that kitten source made) or --srpm")
    from workers.rpm.backend import backend
    from workers.rpm.build import Order, build
    from workers.rpm.sandboxed import staged_folder

    site = _site(site_name)
    target = _target(site, target_name)
    folder = (state or _CHECKOUT / "var" / site.distribution.name).resolve()
    order = Order(site, folder, target, source, srpm)
    return build(order, backend(site, target, staged_folder(site, folder, target)))


@click.command()
@click.option("--shell", metavar="TARGET", help="Enter it as a build of TARGET sees it; what you write is thrown away.")
@click.option("--base-rpm", metavar="TARGET", help="Print the path of the target's sandbox-base RPM.")
@_options
def sandbox(shell: str | None, base_rpm: str | None, site_name: str, state: Path | None) -> None:  # noqa: ARG001
    """Make the sandbox tree that builds run in, or look into it.

    A Debian userland with rpm and the compilers of every target, made once (about a minute and 1.6 GB) and kept in the cache.
    """
    site = _site(site_name)
    if base_rpm:
        from workers.rpm.base import sandbox_base

        click.echo(sandbox_base(site, _target(site, base_rpm)))
    elif shell:
        from workers.rpm.shell import enter

        raise SystemExit(enter(site, _target(site, shell)))
    else:
        from workers.rpm.tree import describe

        click.echo(describe(site))


def _site(name: str) -> Site:
    from config.loading import load_site
    from config.problems import ConfigError

    try:
        return load_site(name)
    except ConfigError as error:
        raise CannotRun(str(error), "kitten check-config") from None


def _target(site: Site, name: str) -> Target:
    try:
        return site.target(name)
    except KeyError as error:
        raise CannotRun(str(error.args[0])) from None
