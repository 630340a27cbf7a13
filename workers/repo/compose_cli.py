"""``kitten compose``."""

from __future__ import annotations

from pathlib import Path

import click

from workers import options


@click.command()
@click.option("--stage", "stage_name", default="", help="A signed one of stages.yaml.  [default: the last]")
@click.option("--if-due", is_flag=True, help="Do nothing while the newest compose is younger than every_minutes.")
@options.site
@options.state
def compose(stage_name: str, if_due: bool, site_name: str, state_folder: Path | None) -> None:
    """Make an immutable tree of what a stage publishes, for mirrors that copy it by rsync.

    STAGE/composes/ID/ holds it, made of hard links: Packages and repodata, metadata of productmd, CHECKSUM files. What
    lies in STAGE/images/isos, live and cloud is part of it; put an image there by a rename, and never change it. Serve
    STAGE/mirror/, which links to the newest. A compose that mirrors may still copy stays; `composes` in stages.yaml says
    how many and how often. Composing again what is composed changes nothing.
    """
    import time

    from workers.errors import CannotRun
    from workers.repo import compose as work
    from workers.repo.compose_tree import Content, content_of
    from workers.repo.sign import site_signer
    from workers.repo.state import named_stage, snapshots_of

    site, state = options.opened(site_name, state_folder)
    stage = named_stage(site, stage_name)
    snapshots = snapshots_of(site, state, stage)
    if stage.composes is None:
        raise CannotRun(f"stage {stage.name} makes no composes", "add composes: {every_minutes: 60, keep: 8} to it in stages.yaml")
    if if_due and not work.due(snapshots.root, stage.composes, time.time()):
        click.echo(f"no compose is due: the newest is younger than {stage.composes.every_minutes} min")
        return

    def read() -> Content:
        current = snapshots.current()
        if current is None:
            raise CannotRun("nothing is published yet", "kitten publish")
        return content_of(current)

    read()
    with site_signer(site, state) as key:
        images = snapshots.root / "images"
        made = work.compose(snapshots.root, site, stage.composes, read, images=images, sign=key.sign_detached)
    click.echo(work.told(made))
