"""``kitten explain``."""

from __future__ import annotations

from pathlib import Path

import click

from workers.base import options
from workers.repository import command


@click.command()
@click.argument("name", metavar="NEVRA|NAME")
@click.option("--target", "target_name", default="", help="One of targets.yaml; needed where several have the package.")
@command.stage
@click.option("--json", "as_json", is_flag=True, help="Print all that is known as one JSON document.")
@options.site
@options.state
def explain(
    name: str, target_name: str, stage_name: str, as_json: bool, site_name: str, state_folder: Path | None
) -> None:
    """Tell where a published package comes from and why it was let through.

    NEVRA|NAME is a source or binary package: zlib, zlib-1.3-1.el10, zlib-devel-1.3-1.el10.x86_64, or a file name. The
    answer names the commit, what was modified, who built it from what, what was proven and tested, when it was
    published, and where its documents lie.

    When the build's own files are gone, the statement of provenance beside the package tells. Verify it first:

    \b
      gpg --verify FILE.intoto.json.asc FILE.intoto.json
    """  # noqa: D301 - \b is click's mark
    from workers.metadata.explain import explain as work
    from workers.metadata.explained import words

    site, state = options.site_and_state(site_name, state_folder)
    told = work(site, state, name, target=target_name, stage=stage_name)
    click.echo(told.model_dump_json(indent=1) if as_json else words(told))
