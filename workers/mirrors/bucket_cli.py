"""``kitten bucket``: what lies in a stage's bucket, by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options
from workers.base.errors import CannotRun, CheckFailed
from workers.repository import command

if TYPE_CHECKING:
    from config.models import Site, Stage
    from workers.repository.snapshot import Snapshots

_MOST_TOLD = 20


@click.group()
def bucket() -> None:
    """Look at the bucket that a stage's publications are brought to.

    A publication and a rollback push by themselves. These are for afterwards: to see that all of it is there, to end
    what a lost connection cut off, and to go on after the machine that published was lost. Endpoint and credentials
    come from AWS_ENDPOINT_URL, AWS_PROFILE and so on, as for every S3 client.
    """


@bucket.command()
@command.stage
@click.option("--content", is_flag=True, help="Download every object and make its checksum, too.")
@options.site
@options.state
def verify(stage_name: str, content: bool, site_name: str, state_folder: Path | None) -> None:
    """Hold what is in the bucket against what was published; changes nothing.

    Looked at are the mark that says whose the bucket is, each index and its signature byte by byte, each file they name
    by the checksum noted with it, and what no index names. Exit status 1: something is not as it was published, a line
    for each with the way out.
    """
    from workers.mirrors.bucket_check import check
    from workers.mirrors.pushing import publication_of

    site, stage, snapshots = _opened(stage_name, site_name, state_folder)
    publication = publication_of(site, snapshots)
    if publication is None:
        raise CannotRun(f"nothing is published to {stage.name} here yet", "kitten publish; it pushes by itself")
    looked_at, found = check(publication, stage.bucket, content=content)
    if found:
        lines = [str(finding) for finding in found[:_MOST_TOLD]]
        more = [f"… and {len(found) - _MOST_TOLD} more"] if len(found) > _MOST_TOLD else []
        raise CheckFailed("\n".join([*lines, *more]))
    how = "by content" if content else "by noted checksum"
    click.echo(f"{stage.bucket} is publication {publication.number}: {looked_at} objects, {how}")


@bucket.command()
@command.stage
@click.option("--everything", is_flag=True, help="Look at every object, not only at what is new; collect strays.")
@options.site
@options.state
def push(stage_name: str, everything: bool, site_name: str, state_folder: Path | None) -> None:
    """Bring the bucket to what users of the stage's folder see.

    Ends what was cut off; the same again changes nothing. With --everything also what was changed or removed there by
    other hands is brought back, and what no index names is removed 24 hours later.
    """
    _push(stage_name, site_name, state_folder, everything=everything)


@bucket.command("take-over")
@command.stage
@click.option("--yes", is_flag=True, help="Do it. Without, only tell whose the bucket is.")
@options.site
@options.state
def take_over(stage_name: str, yes: bool, site_name: str, state_folder: Path | None) -> None:
    """Publish from here to a bucket that was filled from another state folder.

    For when the other one is gone for good: a machine was replaced, a backup restored. From then on the other is
    refused. Users see what this folder has. If that is older than what they saw, publish again soon, or say `kitten
    rollback --to N` with its newest number: clients keep an index that is newer than the one they are offered.
    """
    from workers.mirrors.bucket import Bucket
    from workers.mirrors.mark import BucketMark
    from workers.mirrors.pushing import publication_of

    if yes:
        _push(stage_name, site_name, state_folder, take_over=True)
        return
    site, stage, snapshots = _opened(stage_name, site_name, state_folder)
    if (publication := publication_of(site, snapshots)) is None:
        raise CannotRun(f"nothing is published to {stage.name} here yet", "restore the state folder first")
    mark = BucketMark(Bucket(stage.bucket), publication).found
    who = mark.pushing.publisher if mark.pushing else mark.publisher
    shows = (
        f"{stage.bucket} shows publication {mark.number} of {'this folder' if who == publication.publisher else who}"
    )
    click.echo(f"{shows}; here is {publication.number}\n  → take it over: kitten bucket take-over --yes")


def _push(
    stage_name: str, site_name: str, state_folder: Path | None, *, everything: bool = False, take_over: bool = False
) -> None:
    from workers.mirrors.pushing import push_current

    site, stage, snapshots = _opened(stage_name, site_name, state_folder)
    pushed = push_current(site, stage, snapshots, everything=everything, take_over=take_over)
    if pushed is None:
        raise CannotRun(f"nothing is published to {stage.name} here yet", "kitten publish; it pushes by itself")
    click.echo(f"{stage.bucket}: {pushed}")


def _opened(stage_name: str, site_name: str, state_folder: Path | None) -> tuple[Site, Stage, Snapshots]:
    from workers.repository.state import named_stage, snapshots_of

    site, state = options.site_and_state(site_name, state_folder)
    stage = named_stage(site, stage_name)
    snapshots = snapshots_of(site, state, stage)
    if not stage.bucket:
        raise CannotRun(f"stage {stage.name} has no bucket", "bucket: s3://BUCKET/PREFIX in stages.yaml")
    return site, stage, snapshots
