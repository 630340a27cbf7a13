"""The commands of the lab: ``kitten test``, ``kitten guests``, ``kitten boot`` and ``kitten lab-status``."""

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
    help="A suite of suites.yaml; may be given again.  [default: the suites of the target and of the package]",
)  # fmt: skip
@click.option(
    "--tests", "tests_place", metavar="DIR|TAR", type=click.Path(path_type=Path),
    help="The tests of the package: a folder or a tar.  [default with --build: the tests that came with the build]",
)  # fmt: skip
@click.option(
    "--with", "extra", metavar="PATH", multiple=True, type=click.Path(path_type=Path),
    help="A further package for the guest, for example a library that the tested one needs. May be given again.",
)  # fmt: skip
@click.option("--html", "html_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report as a web page with the pictures in it.",
)  # fmt: skip
@click.option(
    "--quick",
    is_flag=True,
    help="Run only the shortest test of the suites that have one (spice, power-kvm, secure-boot).",
)
@click.option("--dependents", is_flag=True, help="Also run the tests of the staged packages that need the tested ones.")
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

    PATHs are package files or folders of them; suites that test the target itself (cpu-level, spice …) need none.
    Dependencies come from the target's staged packages, or from --with. Consoles, reports and pictures are
    kept: with --build in the build's folder, beside test.json; otherwise below lab/ in the state folder.
    """
    from workers.lab.testing import run_suites
    from workers.results import TestResult

    def work() -> TestResult:
        site, state = options.site_and_state(site_name, state_folder)
        target = options.named_target(site, target_name)
        names = suite_names or _usual_suites(site, target, build_url, state)
        if not names:
            raise CannotRun(
                f"no suite runs on builds for {target.name}", "name one with --suite, or in targets.yaml (suites)"
            )
        suites = [_suite(site, target, name) for name in names]
        return run_suites(
            site, target, suites, state, paths, build_url, tests_place, extra, dependents=dependents, quick=quick
        )

    def show(result: TestResult) -> None:
        if html_file:
            from workers.results.lab_html import page

            html_file.write_text(page(result, _picture_data(result)), encoding="utf-8", errors="replace")
        _print(result)

    conclude(TestResult, json_file, work, known={"target": target_name}, show=show)


@click.command()
@click.option("--target", "names", metavar="NAME", multiple=True, help="Only this target; may be given again.")
@options.site
@options.state
@options.json
def guests(names: tuple[str, ...], site_name: str, state_folder: Path | None, json_file: Path | None) -> None:
    """Fetch the parts of the targets' guests, and find out whether KVM can run them on this host.

    Kernel, shell and C library are kept in the cache; `kitten test` fetches missing parts, too. A target that
    fails does not stop the others; the exit status is 2 if any target failed.
    """
    from workers.lab.guest.prepare import prepare
    from workers.results import GuestsResult

    def work() -> GuestsResult:
        site, _ = options.site_and_state(site_name, state_folder)
        return prepare([options.named_target(site, name) for name in dict.fromkeys(names)] or site.targets)

    def show(result: GuestsResult) -> None:
        if result.failed:
            raise CannotRun(result.cause, "to try one target again: kitten guests --target NAME")

    conclude(GuestsResult, json_file, work, show=show)


@click.command()
@click.option("--target", "target_name", metavar="NAME", required=True, help="A target of targets.yaml.")
@click.option("--fresh", is_flag=True, help="Boot the guest, even if a saved guest exists.")
@click.argument("paths", nargs=-1, metavar="[PATH …]", type=click.Path(path_type=Path))
@options.site
@options.state
def boot(target_name: str, fresh: bool, paths: tuple[Path, ...], site_name: str, state_folder: Path | None) -> None:
    """Open a shell on the console of a guest, with the files of the packages in place.

    PATHs are package files or folders of them. Ctrl-] and `exit` end the guest. With a pipe as standard input, the
    shell runs its lines.
    """
    import tempfile

    from workers.lab.guest import file_system, interactive
    from workers.lab.machine.launch import LaunchFailedError
    from workers.lab.suites.package_files import unpack_with_needs

    site, state = options.site_and_state(site_name, state_folder)
    target = options.named_target(site, target_name)
    base = file_system.base(target)
    with tempfile.TemporaryDirectory(prefix="kitten-boot-") as folder:
        packages = unpack_with_needs(site, target, state, subject.packages_in(paths), Path(folder)) if paths else ()
        click.echo(f"{target.name}: kernel {base.parts.release}, {base.accelerator.name} ({base.accelerator.reason})")
        try:
            ending = interactive.boot(base, packages, None, fresh=fresh)
        except LaunchFailedError as error:
            raise CannotRun(str(error), "see machine in targets.yaml, and QEMU's message above") from None
    click.echo({"end": "the shell has exited", "closed": "the guest has ended"}.get(ending, ending))


@click.command("lab-status")
@options.site
@options.state
def lab_status(site_name: str, state_folder: Path | None) -> None:
    """Show the guests that run or wait on this host, how each target's guests run, saved guests and last runs."""
    from workers.lab import status

    site, state = options.site_and_state(site_name, state_folder)
    status.show(site, state)


def _usual_suites(site: Site, target: Target, build_url: str | None, state: Path) -> tuple[str, ...]:
    """Return the suites that the service runs: the target's, and with a build those of its package."""
    if not build_url:
        return site.suites_of(target)
    from workers.artifacts.builds import open_build

    name = open_build(build_url, state).result.package
    return site.suites_of(target, next((package for package in site.packages if package.name == name), None))


def _picture_data(result: TestResult) -> dict[str, str]:
    """Return the pictures that are stored on this host, by name, as ``data:`` URLs."""
    import base64

    from workers.artifacts.artifact_store import is_local, local_path

    pictures = {}
    for log in (log for suite in result.suites for log in suite.logs):
        if (
            log.name.endswith(".png")
            and log.size <= _MOST_EMBEDDED
            and is_local(log.url)
            and local_path(log.url).is_file()
        ):
            data = local_path(log.url).read_bytes()
            pictures[log.name] = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return pictures


def _suite(site: Site, target: Target, name: str) -> Suite:
    from workers.lab.suites import RUNNERS

    for suite in site.suites:
        if suite.name == name and name in RUNNERS:
            if not suite.fits(target):
                others = suite.targets.names(target.name for target in site.targets)
                raise CannotRun(f"suite {name} does not run on {target.name}", f"it runs on {', '.join(others)}")
            return suite
    known = ", ".join(suite.name for suite in site.suites if suite.name in RUNNERS)
    raise CannotRun(f"unknown suite {name!r}; there are: {known}", "see suites.yaml")


def _print(result: TestResult) -> None:
    marks = {"passed": "ok", "failed": "FAILED", "flaky": "FLAKY", "skipped": "skipped"}
    for suite in result.suites:
        click.echo(plain_line(f"{suite.suite} ({suite.seconds:.1f} s)"))
        for case in suite.cases:
            reason = f" ({case.reason})" if case.reason else ""
            click.echo(f"  {marks[case.outcome]:<8}{plain_line(case.name + reason)}")
            if case.outcome in ("failed", "flaky") and (output := case.detail or case.console):
                click.echo("\n".join(f"          {plain_line(line)}" for line in output.splitlines()))
    if not result.suites or not result.suites[0].logs:
        return
    folder = result.suites[0].logs[0].url.rpartition("/")[0]
    click.echo(f"logs: {folder.removesuffix('/' + result.suites[0].suite)}")
