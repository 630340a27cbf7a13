"""The command ``kitten gate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options
from workers.base.command import conclude
from workers.base.errors import CheckFailed
from workers.promotion.command import overridable
from workers.repository import command
from workers.repository.command import console

if TYPE_CHECKING:
    from workers.promotion.gate.override import Overrides
    from workers.results import GateResult


@click.command()
@click.argument("packages", nargs=-1)
@command.stage
@click.option("--target", "target_name", help="The target of the build, one of targets.yaml.")
@click.option("--build", "build_url", help="Folder that `kitten build` made: check only this build.")
@overridable
@options.json
@options.site
@options.state
def gate(
    packages: tuple[str, ...],
    stage_name: str,
    target_name: str | None,
    build_url: str | None,
    overrides: Overrides,
    json_file: Path | None,
    site_name: str,
    state_folder: Path | None,
) -> None:
    """Show the verdict of each rule of a stage's gate; change nothing.

    PACKAGES are packages that wait in the previous stage (default: all that wait, as one set); packages that they need
    join the set, each with its reason. With --target and --build, a build is checked before it is published.

    \b
      kitten gate                            may everything in testing go to users?
      kitten gate spice                      may spice, and which packages must go with it?
      kitten gate --stage testing --target s390x --build artifacts/builds/s390x/1f…
      kitten gate spice --override same-newest --reason "s390x has no SPICE" --as release

    Exit status: 0 all may pass, 1 something is refused (with rule, build, target and hint), 2 the gate could not run.
    """  # noqa: D301 - click's mark for lines that stay as they are
    from workers.promotion.gate.ask import ask
    from workers.results import GateResult

    def work() -> GateResult:
        site, state = options.site_and_state(site_name, state_folder)
        return ask(
            site,
            state,
            stage_name=stage_name,
            target_name=target_name,
            build_url=build_url,
            packages=packages,
            overrides=overrides,
        )

    def show(result: GateResult) -> None:
        _print(result)
        if result.outcome == "failed":
            raise CheckFailed(result.summary)  # every refusal is printed above

    conclude(GateResult, json_file, work, known={"stage": stage_name}, show=show)


def _print(result: GateResult) -> None:
    """Print the verdicts as a table, then the refusals in full, because a table breaks long sentences."""
    from rich.table import Table

    terminal = console()
    colours = {"passed": "green", "refused": "red", "overridden": "yellow"}
    table = Table("rule", "package", "target", "verdict", box=None)
    rows = dict.fromkeys((v.rule, v.nevr, v.target, v.outcome) for v in result.verdicts)
    for rule, nevr, target, outcome in rows:
        table.add_row(rule, nevr, target, f"[{colours[outcome]}]{outcome}[/]")
    terminal.print(table)
    for verdict in (v for v in result.verdicts if v.outcome != "passed"):
        click.echo(f"{verdict.outcome}: {verdict}")
    for line in result.joined:
        click.echo(f"joins: {line}")
    for line in result.debts:
        click.echo(f"owed: {line}")
    for record in result.overrides:
        click.echo(f"overridden: {record.rule} by {record.user}, {record.when}: {record.reason}")
