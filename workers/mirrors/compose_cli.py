"""``kitten compose``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options
from workers.base.command import conclude
from workers.base.errors import CannotRun
from workers.repository import command

if TYPE_CHECKING:
    from config.models import Site
    from workers.results import ComposeResult


@click.command()
@command.stage
@click.option(
    "--if-due", is_flag=True, help="Do nothing while the newest compose is younger than every_minutes, less a tenth."
)
@options.json
@options.site
@options.state
def compose(stage_name: str, if_due: bool, json_file: Path | None, site_name: str, state_folder: Path | None) -> None:
    """Make a tree of a stage that never changes, for mirrors that copy it by rsync.

    The tree is STAGE/composes/ID/. It has hard links to packages and repodata, metadata of productmd, and CHECKSUM
    files. Images in STAGE/images/isos, live and cloud are part of it; put an image there by a rename, and never change
    it. Let mirrors copy STAGE/mirror/, a link to the newest compose. A compose that mirrors may still copy stays.
    `composes` in stages.yaml sets how many stay and how often the service makes one. If nothing new is published, the
    command changes nothing and needs no key.
    """
    from workers.results import ComposeResult

    def work() -> ComposeResult:
        site, state = options.site_and_state(site_name, state_folder)
        return _make_compose(site, state, stage_name, if_due)

    conclude(ComposeResult, json_file, work, known={"stage": stage_name})


def _make_compose(site: Site, state: Path, stage_name: str, if_due: bool) -> ComposeResult:
    import time
    from contextlib import ExitStack

    from workers.mirrors import compose as work
    from workers.mirrors.compose_tree import Content, content_of
    from workers.repository.state import named_stage, snapshots_of
    from workers.results import ComposeResult
    from workers.signing.sign import Signer, site_signer

    begun = time.monotonic()
    stage = named_stage(site, stage_name)
    snapshots = snapshots_of(site, state, stage)
    if stage.composes is None:
        raise CannotRun(
            f"stage {stage.name} makes no composes", "add composes: {every_minutes: 60, keep: 8} to it in stages.yaml"
        )
    if if_due and snapshots.current() is None:
        return ComposeResult(summary="no compose is due: nothing is published yet", stage=stage.name)
    if if_due and not work.is_due(snapshots.root, stage.composes, time.time()):
        summary = f"no compose is due: the newest is younger than {stage.composes.every_minutes} min"
        return ComposeResult(summary=summary, stage=stage.name)

    def read() -> Content:
        current = snapshots.current()
        if current is None:
            raise CannotRun("nothing is published yet", "run kitten publish")
        return content_of(current)

    read()
    keys: list[Signer] = []
    with ExitStack() as stack:

        def sign(checksums: Path) -> None:
            """Sign a file; open the key only for the first one, because most runs sign nothing."""
            if not keys:
                keys.append(stack.enter_context(site_signer(site, state)))
            keys[0].sign_detached(checksums)

        images = snapshots.root / "images"
        run = work.compose(snapshots.root, site, stage.composes, read, images=images, sign=sign)
    return ComposeResult(
        summary=work.describe(run),
        seconds=time.monotonic() - begun,
        stage=stage.name,
        id=run.record.id,
        snapshot=run.record.snapshot,
        url=str(snapshots.root / "composes" / run.record.id),
        new=run.new,
        collected=run.collected,
    )
