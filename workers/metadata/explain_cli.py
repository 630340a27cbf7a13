"""``kitten explain``; a separate module, so that ``--help`` loads only this."""

from __future__ import annotations

from pathlib import Path

import click

from workers.base import options
from workers.repository import command


@click.command()
@click.argument("name", metavar="NEVRA|NAME")
@click.option("--target", "target_name", default="", help="One of targets.yaml; needed if several have the package.")
@command.stage
@click.option("--json", "as_json", is_flag=True, help="Print the answer as one JSON document.")
@options.site
@options.state
def explain(
    name: str, target_name: str, stage_name: str, as_json: bool, site_name: str, state_folder: Path | None
) -> None:
    """Show where a published package comes from and why it passed the gate.

    NEVRA|NAME is a source or binary package: zlib, zlib-1.3-1.el10, zlib-devel-1.3-1.el10.x86_64, or a file name. The
    answer has the commit, the modification, the builder and its inputs, the results of proof and tests, the time of
    publication, and the paths of its documents.

    The answer is based on the signed statement of provenance beside the package, if it exists. Verify it first:

    \b
      gpg --verify FILE.intoto.json.asc FILE.intoto.json
    """  # noqa: D301 - \b is click's mark
    from workers.metadata.explain import explain as work
    from workers.metadata.explain_text import explanation_text

    site, state = options.site_and_state(site_name, state_folder)
    explanation = work(site, state, name, target=target_name, stage=stage_name)
    click.echo(explanation.model_dump_json(indent=1) if as_json else explanation_text(explanation))
