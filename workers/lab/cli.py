"""``kitten test`` and ``kitten guests``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.text import plain_line
from workers.artifacts import subject
from workers.base import options
from workers.base.command import conclude
from workers.base.errors import CannotRun

if TYPE_CHECKING:
    from config.models import Site, Suite, Target
    from workers.results import TestResult

_MOST_EMBEDDED = 4 * 1024 * 1024  # bytes of a picture in a report; a screen of 1920 × 1080 is a tenth of it


@click.command()
@click.option(
    "--suite", "suite_names", metavar="NAME", multiple=True,
    help="One of suites.yaml; may be given again.  [default: what each build of the target, or of the package, runs]",
)  # fmt: skip
@click.option(
    "--tests", "tests_place", metavar="DIR|TAR", type=click.Path(path_type=Path),
    help="The package's tests.  [default with --build: what the build carries]",
)  # fmt: skip
@click.option(
    "--with", "extra", metavar="PATH", multiple=True, type=click.Path(path_type=Path),
    help="A further package for the guest: a library that the tested one needs. May be given again.",
)  # fmt: skip
@click.option("--html", "html_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report for people there, with the pictures in it.",
)  # fmt: skip
@click.option(
    "--quick",
    is_flag=True,
    help="Of each suite only its shortest proof, where it has one (spice, power-kvm, secure-boot).",
)
@click.option(
    "--dependents", is_flag=True, help="Run the tests of the staged packages that need the tested ones as well."
)
@subject.options
def test(
    suite_names: tuple[str, ...],
    tests_place: Path | None,
    extra: tuple[Path, ...],
    html_file: Path | None,
    quick: bool,
    dependents: bool,
    target_name: str,
    build_url: str | None,
    site_name: str,
    state_folder: Path | None,
    json_file: Path | None,
    paths: tuple[Path, ...],
) -> None:
    """Run test suites in QEMU guests with the target's CPU.

    PATHs are package files or folders of them; suites that look at the target itself (cpu-level, spice …) need none.
    What the packages need is taken from the target's staged packages, or from --with. Consoles, reports and
    pictures are kept: with --build in the build's folder, beside test.json; else below lab/ in the state folder.
    """
    from workers.lab.testing import run_suites
    from workers.results import TestResult

    def work() -> TestResult:
        site, state = options.site_and_state(site_name, state_folder)
        target = options.named_target(site, target_name)
        names = suite_names or _usual_suites(site, target, build_url, state)
        if not names:
            raise CannotRun(
                f"no suite runs on builds for {target.name}", "name one: --suite, or suites in targets.yaml"
            )
        suites = [_suite(site, target, name) for name in names]
        return run_suites(
            site, target, suites, state, paths, build_url, tests_place, extra, dependents=dependents, quick=quick
        )

    def show(result: TestResult) -> None:
        if html_file:
            from workers.results.lab_html import page

            html_file.write_text(page(result, _embedded(result)), encoding="utf-8", errors="replace")
        _print(result)

    conclude(TestResult, json_file, work, known={"target": target_name}, show=show)


@click.command()
@click.option("--target", "names", metavar="NAME", multiple=True, help="Of this target only; may be given again.")
@options.site
@options.state
@options.json
def guests(names: tuple[str, ...], site_name: str, state_folder: Path | None, json_file: Path | None) -> None:
    """Fetch what the guests of the targets are made of, and find out how they can run on this host.

    Kernel, shell and C library are kept in the cache; `kitten test` fetches what is missing by itself. A target that
    fails does not stop the others; the exit status is 2 if any failed.
    """
    from workers.lab.guest.prepare import prepare
    from workers.results import GuestsResult

    def work() -> GuestsResult:
        site, _ = options.site_and_state(site_name, state_folder)
        return prepare([options.named_target(site, name) for name in dict.fromkeys(names)] or site.targets)

    def show(result: GuestsResult) -> None:
        if result.failed:
            raise CannotRun(result.cause, "what is ready stays ready; one target again: kitten guests --target NAME")

    conclude(GuestsResult, json_file, work, show=show)


@click.command()
@click.option("--target", "target_name", metavar="NAME", required=True, help="One of targets.yaml.")
@click.option("--fresh", is_flag=True, help="Boot it, even where a saved guest is at hand.")
@click.argument("paths", nargs=-1, metavar="[PATH …]", type=click.Path(path_type=Path))
@options.site
@options.state
def boot(target_name: str, fresh: bool, paths: tuple[Path, ...], site_name: str, state_folder: Path | None) -> None:
    """Look around in a guest of a target: a shell on its console, the files of the packages in place.

    PATHs are package files or folders of them. Ctrl-] ends the guest; so does `exit`. Lines of a pipe are typed.
    """
    import tempfile

    from workers.lab.guest import file_system, interactive
    from workers.lab.machine.launch import LaunchFailedError
    from workers.lab.suites.packages import laid_out

    site, state = options.site_and_state(site_name, state_folder)
    target = options.named_target(site, target_name)
    base = file_system.base(target)
    with tempfile.TemporaryDirectory(prefix="kitten-boot-") as folder:
        packages = laid_out(site, target, state, subject.packages_in(paths), Path(folder)) if paths else ()
        click.echo(f"{target.name}: kernel {base.parts.release}, {base.accelerator.name} ({base.accelerator.reason})")
        try:
            ending = interactive.boot(base, packages, None, fresh=fresh)
        except LaunchFailedError as error:
            raise CannotRun(str(error), "see machine in targets.yaml, and QEMU's words above") from None
    click.echo({"end": "the shell has exited", "closed": "the guest has gone"}.get(ending, ending))


@click.command("lab-status")
@options.site
@options.state
def lab_status(site_name: str, state_folder: Path | None) -> None:
    """Tell what guests run or wait on this host, how each target's run, and what is kept for them."""
    from workers.lab import status

    site, state = options.site_and_state(site_name, state_folder)
    status.show(site, state)


def _usual_suites(site: Site, target: Target, build_url: str | None, state: Path) -> tuple[str, ...]:
    """What the service runs: the target's suites, and with a build those of its package."""
    if not build_url:
        return site.suites_of(target)
    from workers.artifacts.builds import open_build

    name = open_build(build_url, state).result.package
    return site.suites_of(target, next((package for package in site.packages if package.name == name), None))


def _embedded(result: TestResult) -> dict[str, str]:
    """The pictures that lie on this host, by name, as addresses that hold them."""
    import base64

    from workers.artifacts.artifact_store import is_local, local_path

    found = {}
    for log in (log for suite in result.suites for log in suite.logs):
        if (
            log.name.endswith(".png")
            and log.size <= _MOST_EMBEDDED
            and is_local(log.url)
            and local_path(log.url).is_file()
        ):
            data = local_path(log.url).read_bytes()
            found[log.name] = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return found


def _suite(site: Site, target: Target, name: str) -> Suite:
    from workers.lab.suites import RUNNERS

    for suite in site.suites:
        if suite.name == name and name in RUNNERS:
            if not suite.fits(target):
                others = suite.targets.names(target.name for target in site.targets)
                raise CannotRun(f"suite {name} does not run on {target.name}", f"it runs on {', '.join(others)}")
            return suite
    there = ", ".join(suite.name for suite in site.suites if suite.name in RUNNERS)
    raise CannotRun(f"unknown suite {name!r}; there are: {there}", "see suites.yaml")


def _print(result: TestResult) -> None:
    marks = {"passed": "ok", "failed": "FAILED", "flaky": "FLAKY", "skipped": "skipped"}
    for suite in result.suites:
        click.echo(plain_line(f"{suite.suite} ({suite.seconds:.1f} s)"))
        for case in suite.cases:
            why = f" ({case.reason})" if case.reason else ""
            click.echo(f"  {marks[case.outcome]:<8}{plain_line(case.name + why)}")
            if case.outcome in ("failed", "flaky") and (said := case.detail or case.console):
                click.echo("\n".join(f"          {plain_line(line)}" for line in said.splitlines()))
    if not result.suites or not result.suites[0].logs:
        return
    folder = result.suites[0].logs[0].url.rpartition("/")[0]
    click.echo(f"logs: {folder.removesuffix('/' + result.suites[0].suite)}")
