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

    def work() -> BuildResult:
        return _build(target_name, source, srpm, trial, site_name, state_folder)

    def show(result: BuildResult) -> None:
        for log in result.logs:
            click.echo(f"  {log.url}")

    built = conclude(BuildResult, json_file, work, known={"target": target_name}, show=show)
    click.echo(f"  {built.url}{' (reused)' if built.reused else ''}")


def _build(
    target_name: str, source: str, srpm: str, trial: bool, site_name: str, state_folder: Path | None
) -> BuildResult:
    if bool(source) == bool(srpm):
        raise CannotRun("what to build is not clear", "give --source (a folder that kitten source made) or --srpm")
    from workers.repository.buildroot import staged_folder
    from workers.rpm.build import Order, backend, build

    site, folder = options.opened(site_name, state_folder)
    target = options.named_target(site, target_name)
    order = Order(site, folder, target, source, srpm, trial)
    return build(order, backend(site, target, staged_folder(site, folder, target)))


@click.command()
@click.option("--target", "target_names", metavar="NAME", multiple=True, help="Only its tree; may be given again.")
@click.option("--shell", metavar="TARGET", help="Enter it as a build of TARGET sees it; what you write is thrown away.")
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
    """Make the sandbox trees that builds run in, or look into them.

    A base, which is a Debian userland with rpm and the host's own compilers, and over it a layer of cross compilers for each
    target that is foreign to this host. They are made once (about a minute and 1.6 GB) and kept in the cache. If one
    target's layer cannot be made, the others are; the exit status is 2, and the result file has the reason of each.
    """
    if (shell or base_rpm) and (target_names or json_file or (shell and base_rpm)):
        raise CannotRun(
            "--shell and --base-rpm go alone, without --target and --json",
            "name the target after --shell or --base-rpm",
        )
    if not (shell or base_rpm):
        _make_trees(target_names, json_file, site_name, state_folder)
        return
    site, _ = options.opened(site_name, state_folder)
    if base_rpm:
        from workers.sandbox.base_package import sandbox_base

        click.echo(sandbox_base(site, options.named_target(site, base_rpm)))
    if shell:
        from workers.sandbox.shell import enter

        raise SystemExit(enter(site, options.named_target(site, shell)))


def _make_trees(target_names: Sequence[str], json_file: Path | None, site_name: str, state_folder: Path | None) -> None:
    from workers.results import SandboxResult
    from workers.sandbox.trees import describe, failure, make_trees

    def work() -> SandboxResult:
        site, _ = options.opened(site_name, state_folder)
        targets = [options.named_target(site, name) for name in dict.fromkeys(target_names)]
        result = make_trees(site, targets or site.targets)
        click.echo(describe(site, result))
        return result

    def show(result: SandboxResult) -> None:
        if result.outcome != "passed":
            raise failure(result)

    conclude(SandboxResult, json_file, work, show=show)
