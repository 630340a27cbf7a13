"""The commands ``kitten up``, ``down``, ``status``, ``demo`` and ``try``: the service on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from master.service.service import Service


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--state",
            type=click.Path(path_type=Path),
            envvar="KITTEN_STATE",
            help="State folder: all files of the service. Default: var/SITE in the checkout.",
        ),
        click.option(
            "--site",
            default="demo",
            show_default=True,
            envvar="KITTEN_SITE",
            help="Name of a folder in config/, or a path.",
        ),
    ):
        function = option(function)
    return function


def _service(site: str, state: Path | None) -> Service:
    from config.loading import load_site
    from config.problems import ConfigError
    from master.service.service import CHECKOUT, Service

    try:
        loaded = load_site(site)
    except ConfigError as error:
        raise _fail(str(error)) from None
    argument = str(Path(site).resolve()) if "/" in site else site
    return Service(loaded, argument, (state or CHECKOUT / "var" / loaded.distribution.name).resolve())


def _fail(message: str) -> SystemExit:
    click.echo(f"kitten: {message}", err=True)
    return SystemExit(2)


def _exit_on_service_error(action: Callable[[], Any]) -> Any:
    from requests import RequestException

    from master.errors import ServiceError

    try:
        return action()
    except ServiceError as error:
        raise _fail(str(error)) from None
    except RequestException as error:
        hint = "it may be restarting: run this again; `kitten down` and `kitten up` start the service again"
        raise _fail(f"the master does not answer: {str(error)[:200]}\n  → {hint}") from None
    except KeyError as error:
        raise _fail(str(error.args[0])) from None


@click.command()
@_options
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port of the web UI. Default: the port in web.yaml, else the first free one from 8010.",
)
def up(site: str, state: Path | None, port: int | None) -> None:
    """Start the service: master and workers, which are restarted if they die. It is no error if it already runs."""
    service = _service(site, state)
    ports = _exit_on_service_error(lambda: service.start(click.echo, port))
    click.echo(f"web UI: {ports.url}\nstate:  {service.state}\nlogs:   {service.state / 'logs'}")


@click.command()
@_options
def down(site: str, state: Path | None) -> None:
    """Stop the service and all its processes. Builds that were running start again at the next `kitten up`."""
    service = _service(site, state)
    _exit_on_service_error(lambda: service.stop(click.echo))


@click.command()
@_options
def status(site: str, state: Path | None) -> None:
    """Show what is published, what is under way, and what waits and why."""
    from master.client.api import Api
    from master.client.progress import housekeeping_lines, lab_cells, matrix
    from master.client.revisions import head, published_commits
    from master.client.tables import overview, terminal
    from master.runs import scheduled_suites

    service = _service(site, state)
    console = terminal()

    def show() -> None:
        ports = service.running_ports()
        packages = service.site.packages
        commits = {p.name: head(service, p)[1] for p in packages}
        api = Api(ports.url, (p.name for p in packages))
        seen = api.snapshot(t.name for t in service.site.targets)
        cells = matrix(service.site, packages, commits, seen, published_commits(service))
        cells |= lab_cells(seen, scheduled_suites(service.site))
        console.print(overview(service, [p for p in packages if commits[p.name]], cells))
        for line in housekeeping_lines(api.housekeeping(), seen.now):
            console.print(line, highlight=False, markup=False)
        for process in service.processes():
            console.print(
                f"{process['name']:12} {process['statename'].lower():10} {process['description']}", highlight=False
            )
        console.print(f"web UI: {ports.url}")

    _exit_on_service_error(show)


@click.command()
@_options
@click.option("--packages", default="", help='Names of packages, or "all". Default: all without "default: false".')
@click.option(
    "--lab/--no-lab",
    "with_lab",
    default=True,
    help="Also run the suites of the site's schedules, once.  [default: yes]",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the web UI.")
@click.option(
    "--force",
    is_flag=True,
    help="Go on even if the host lacks disk space, memory or something else that the demo needs.",
)
def demo(site: str, state: Path | None, packages: str, with_lab: bool, port: int | None, force: bool) -> None:
    """Start the service, push the demo's packages and show their builds until they are published.

    The exit status is 0 only if each package is built, verified, tested and published on each of its targets, and all
    suites that schedules run on the targets pass.
    """
    from master.client import demo as pipeline
    from master.client import preflight
    from master.client.tables import terminal

    service = _service(site, state)
    chosen = _exit_on_service_error(lambda: pipeline.choose_packages(service, packages))
    _exit_on_service_error(lambda: preflight.check(service, click.echo, force=force))
    passed = _exit_on_service_error(lambda: pipeline.run_demo(service, chosen, terminal(), port, with_lab=with_lab))
    sys.stdout.flush()
    sys.exit(0 if passed else 1)


@click.command("try")
@_options
@click.option("--package", required=True, help="The package the patch is for.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="Build only for this target; can be given more than once. Default: all targets.",
)
@click.option(
    "--patch",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The patch. Default: what this checkout changes.",
)
@click.option(
    "--branch", help="Branch in the package's dist-git. Default: the first branch of sources.yaml that exists there."
)
@click.option("--user", default="contributor", show_default=True, help="Account of the web UI.")
@click.option(
    "--password-file",
    type=click.Path(exists=True, path_type=Path),
    help="File with the password. Default: the service's secret, if you can read it.",
)
@click.option("--wait/--no-wait", default=False, help="Wait for the builds; exit 0 only if all of them succeed.")
def try_build(
    site: str,
    state: Path | None,
    package: str,
    targets: tuple[str, ...],
    patch: Path | None,
    branch: str | None,
    user: str,
    password_file: Path | None,
    wait: bool,
) -> None:
    """Build, verify and test your patch exactly as a commit; nothing is published.

    Run it in a clone of the package's dist-git: the patch is what the clone changes against its origin.
    """
    import time

    from master.client import try_client
    from master.client.api import Api
    from master.client.revisions import head
    from master.errors import ServiceError

    service = _service(site, state)

    def run() -> bool:
        chosen = service.site.package(package)
        for target in targets:
            service.site.target(target)
        ports = service.running_ports()
        default_branch, commit = head(service, chosen)
        used = branch or default_branch
        text, base = (patch.read_text(), commit) if patch else try_client.patch_of_checkout(Path.cwd(), used)
        secret = password_file or service.state / "secrets" / f"web-{user}"
        if not secret.is_file():
            raise ServiceError(f"no password of user {user!r}: {secret} does not exist\n  → give --password-file FILE")
        attempt = try_client.Try(package, text, used, base, targets, user, secret.read_text().strip())
        started = time.time()
        try_client.deliver(attempt, ports.try_)
        api = Api(ports.url)
        build = try_client.build_address(api, attempt, started)
        if build is None:
            raise ServiceError(f"the master has the patch, but has started no build\n  → see {ports.url}#/builders")
        click.echo(f"try-build: {build[1]}")
        return not wait or try_client.wait_for(api, build[0], click.echo)

    if not _exit_on_service_error(run):
        sys.exit(1)
