"""Roll users back to an earlier snapshot: the rollback is itself a publication with a new number.

A module alone, because it is the only change of a stage that no gate decides.
"""

from __future__ import annotations

from pathlib import Path

from config.models import Site
from workers.base.errors import CannotRun
from workers.mirrors.pushing import push_current
from workers.repository.state import named_stage, snapshots_of
from workers.signing.sign import site_signer


def rollback(site: Site, state: Path, to: int | None = None, *, stage_name: str = "") -> str:
    """Publish the content of an earlier snapshot again, and return a line about it.

    An index that was changed by hand is written again, even if the content is the same.

    :param to: number of the snapshot; by default the one before the content that users see now, so that two calls go
        back two steps.
    :raises CannotRun: if the snapshot is not kept, or nothing was published yet.
    """
    stage = named_stage(site, stage_name)
    snapshots = snapshots_of(site, state, stage)
    with snapshots.lock():
        current = snapshots.current()
        if current is None:
            raise CannotRun("nothing was published yet", "publish a build first: kitten publish")
        content = current.record.content_of
        wanted = snapshots.get(content - 1 if to is None else to)
        of = wanted.record.content_of
        if of == content and not current.changed_by_hand():
            return f"snapshot {current.record.number} already shows the content of {of}: nothing to switch"
        with site_signer(site, state) as key, snapshots.draft(()) as draft:
            draft.restore(wanted)
            draft.finish(f"rolled back to {of}", key.sign_detached, content_of=of)
        snapshots.prune(site.retention)
    push_current(site, stage, snapshots)
    return f"snapshot {draft.number} shows the content of {of} in place of {content}"
