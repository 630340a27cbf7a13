"""``kitten build`` and ``kitten sandbox``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options
from workers.base.command import conclude
from workers.base.errors import CannotRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.results import BuildResult


@click.command()
@click.option("--target", "target_name", required=True, metavar="TARGET", help="A target of targets.yaml.")
@click.option("--source", metavar="URL", default="", help="Folder that kitten source made.")
@click.option("--srpm", metavar="PATH-OR-URL", default="", help="An SRPM in place of a source folder.")
@click.option("--trial", is_flag=True, help="A try build: stored apart, never staged or published.")
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

    BuildRequires come from the target's staged packages. The result is stored in ARTIFACTS/builds/TARGET/IDENTITY/.
    IDENTITY is the hash of all inputs: the same build is never made twice. The log of a failed build is stored below
    ARTIFACTS/failed/.
    """
    from workers.results import BuildResult

    def work() -> BuildResult:
        return _build(target_name, source, srpm, trial, site_name, state_folder)

    def show(result: BuildResult) -> None:
        for log in result.logs:
            click.echo(f"  {log.url}")

    result = conclude(BuildResult, json_file, work, known={"target": target_name}, show=show)
    click.echo(f"  {result.url}{' (reused)' if result.reused else ''}")


def _build(
    target_name: str, source: str, srpm: str, trial: bool, site_name: str, state_folder: Path | None
) -> BuildResult:
    if bool(source) == bool(srpm):
        raise CannotRun("give either --source or --srpm", "--source is a folder that kitten source made")
    from workers.repository.buildroot import staged_folder
    from workers.rpm.build import Order, backend, build

    site, folder = options.site_and_state(site_name, state_folder)
    target = options.named_target(site, target_name)
    order = Order(site, folder, target, source, srpm, trial)
    return build(order, backend(site, target, staged_folder(site, folder, target)))


@click.command()
@click.option(
    "--target", "target_names", metavar="NAME", multiple=True, help="Only the tree of this target; may be repeated."
)
@click.option("--shell", metavar="TARGET", help="Open a shell as a build of TARGET sees the tree; changes are lost.")
@click.option("--base-rpm", metavar="TARGET", help="Print the path of the target's sandbox-base RPM.")
@options.json
@options.site
@options.state
def sandbox(
    target_names: tuple[str, ...],
    shell: str | None,
    base_rpm: str | None,
    json_file: Path | None,
    site_name: str,
    state_folder: Path | None,
) -> None:
    """Make the sandbox trees that builds run in, or look into one.

    The base is a Debian userland with rpm and the host's compilers. Each target that is foreign to this host has a
    layer of cross compilers over it. They are made once (about a minute and 1.6 GB) and stored in the cache. If one
    target's layer cannot be made, the others are made; the exit status is 2, and the result file has each reason.
    """
    if (shell or base_rpm) and (target_names or json_file or (shell and base_rpm)):
        raise CannotRun(
            "--shell and --base-rpm cannot be combined with each other, with --target or with --json",
            "give the target after --shell or --base-rpm",
        )
    if not (shell or base_rpm):
        _make_trees(target_names, json_file, site_name, state_folder)
        return
    site, _ = options.site_and_state(site_name, state_folder)
    if base_rpm:
        from workers.sandbox.base_package import sandbox_base

        click.echo(sandbox_base(site, options.named_target(site, base_rpm)))
    if shell:
        from workers.sandbox.trees import enter_shell

        raise SystemExit(enter_shell(site, options.named_target(site, shell)))


def _make_trees(target_names: Sequence[str], json_file: Path | None, site_name: str, state_folder: Path | None) -> None:
    from workers.results import SandboxResult
    from workers.sandbox.trees import describe, failure, make_trees

    def work() -> SandboxResult:
        site, _ = options.site_and_state(site_name, state_folder)
        targets = [options.named_target(site, name) for name in dict.fromkeys(target_names)]
        result = make_trees(site, targets or site.targets)
        click.echo(describe(site, result))
        return result

    def show(result: SandboxResult) -> None:
        if result.outcome != "passed":
            raise failure(result)

    conclude(SandboxResult, json_file, work, show=show)
