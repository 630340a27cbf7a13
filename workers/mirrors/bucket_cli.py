"""``kitten bucket``: verify, push to or take over a stage's bucket by hand."""

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

_MOST_LINES = 20


@click.group()
def bucket() -> None:
    """Verify, push to or take over the bucket of a stage.

    A publication and a rollback push to the bucket themselves. Use these commands to check that the bucket is complete,
    to finish a push after a lost connection, and to go on after the publishing machine was lost. Endpoint and
    credentials come from AWS_ENDPOINT_URL, AWS_PROFILE and so on, as for every S3 client.
    """


@bucket.command()
@command.stage
@click.option("--content", is_flag=True, help="Also download every object and compute its checksum.")
@options.site
@options.state
def verify(stage_name: str, content: bool, site_name: str, state_folder: Path | None) -> None:
    """Compare the bucket with what was published; change nothing.

    The command compares the mark that names the publisher, each index and its signature byte by byte, and each file
    that they name by its noted checksum. It also finds objects that no index names. If it finds a difference, the exit
    status is 1; each difference is a line with a hint.
    """
    from workers.mirrors.bucket_check import check
    from workers.mirrors.pushing import publication_of

    site, stage, snapshots = _stage_with_bucket(stage_name, site_name, state_folder)
    publication = publication_of(site, snapshots)
    if publication is None:
        raise _nothing_published(stage)
    objects, findings = check(publication, stage.bucket, content=content)
    if findings:
        lines = [str(finding) for finding in findings[:_MOST_LINES]]
        more = [f"… and {len(findings) - _MOST_LINES} more"] if len(findings) > _MOST_LINES else []
        raise CheckFailed("\n".join([*lines, *more]))
    how = "by content" if content else "by noted checksum"
    click.echo(f"{stage.bucket} is publication {publication.number}: {objects} objects, {how}")


@bucket.command()
@command.stage
@click.option("--everything", is_flag=True, help="Check every object, not only new ones; remove strays later.")
@options.site
@options.state
def push(stage_name: str, everything: bool, site_name: str, state_folder: Path | None) -> None:
    """Bring the bucket to the publication that users of the stage's folder see.

    The command finishes an interrupted push. If the bucket is up to date, it changes nothing. With --everything, it
    also restores objects that others changed or removed, and removes objects that no index names after 24 hours.
    """
    _push(stage_name, site_name, state_folder, everything=everything)


@bucket.command("take-over")
@command.stage
@click.option("--yes", is_flag=True, help="Take the bucket over. Without --yes, only show its publisher.")
@options.site
@options.state
def take_over(stage_name: str, yes: bool, site_name: str, state_folder: Path | None) -> None:
    """Publish from here to a bucket that was filled from another state folder.

    Use it if the other state folder no longer exists: a machine was replaced, a backup restored. Later pushes of the
    other one are refused. Users see what this folder has. If that is older than before, publish again soon, or run
    `kitten rollback --to N` with its newest number, because clients keep an index that is newer than the bucket's.
    """
    from workers.mirrors.bucket import Bucket
    from workers.mirrors.mark import BucketMark
    from workers.mirrors.pushing import publication_of

    if yes:
        _push(stage_name, site_name, state_folder, take_over=True)
        return
    site, stage, snapshots = _stage_with_bucket(stage_name, site_name, state_folder)
    if (publication := publication_of(site, snapshots)) is None:
        raise CannotRun(f"nothing is published to {stage.name} here yet", "restore the state folder first")
    mark = BucketMark(Bucket(stage.bucket), publication).before
    who = mark.pushing.publisher if mark.pushing else mark.publisher
    shows = (
        f"{stage.bucket} shows publication {mark.number} of {'this folder' if who == publication.publisher else who}"
    )
    click.echo(f"{shows}; here is {publication.number}\n  → take it over: kitten bucket take-over --yes")


def _push(
    stage_name: str, site_name: str, state_folder: Path | None, *, everything: bool = False, take_over: bool = False
) -> None:
    from workers.mirrors.pushing import push_current

    site, stage, snapshots = _stage_with_bucket(stage_name, site_name, state_folder)
    pushed = push_current(site, stage, snapshots, everything=everything, take_over=take_over)
    if pushed is None:
        raise _nothing_published(stage)
    click.echo(f"{stage.bucket}: {pushed}")


def _nothing_published(stage: Stage) -> CannotRun:
    return CannotRun(f"nothing is published to {stage.name} here yet", "run kitten publish: it also pushes")


def _stage_with_bucket(stage_name: str, site_name: str, state_folder: Path | None) -> tuple[Site, Stage, Snapshots]:
    from workers.repository.state import named_stage, snapshots_of

    site, state = options.site_and_state(site_name, state_folder)
    stage = named_stage(site, stage_name)
    snapshots = snapshots_of(site, state, stage)
    if not stage.bucket:
        raise CannotRun(f"stage {stage.name} has no bucket", "add bucket: s3://BUCKET/PREFIX to it in stages.yaml")
    return site, stage, snapshots
