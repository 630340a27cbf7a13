"""Push the current publication of a stage to its bucket, after each publication."""

from __future__ import annotations

from pathlib import Path

from config.models import Site, Stage
from workers.base.files import sha256_of
from workers.mirrors.publication import File, Publication, Pushed
from workers.mirrors.remote import publisher_of, push
from workers.repository.catalogue import Catalogue
from workers.repository.snapshot import Snapshots


def push_current(
    site: Site, stage: Stage, snapshots: Snapshots, *, take_over: bool = False, everything: bool = False
) -> Pushed | None:
    """Push what users of the stage's folder see to its bucket; return None without a bucket or a publication.

    :param take_over: push even if the bucket was filled from another folder, which no longer publishes.
    :param everything: check every object, not only new ones.
    :raises CannotRun: if the bucket cannot be written, or an index was changed by hand. The local publication does not
        change, and the next call finishes the push.
    """
    publication = publication_of(site, snapshots) if stage.bucket else None
    if publication is None:
        return None
    return push(publication, stage.bucket, take_over=take_over, verify=everything)


def publication_of(site: Site, snapshots: Snapshots) -> Publication | None:
    """Return what users of a stage's folder see, as a publication for a bucket; None before the first publication.

    :raises CannotRun: if an index was changed by hand, because it must not reach users.
    """
    current = snapshots.current()
    if current is None:
        return None
    current.require_unchanged()
    number, top = current.record.number, snapshots.top
    files: dict[str, File] = {}
    repositories: dict[str, Path] = {}
    with Catalogue.open(snapshots.catalogue) as catalogue:
        for repository in sorted(current.record.repositories, key=lambda folder: _order(site, folder)):
            repositories[f"{top}/{repository}"] = current.folder / repository / "repodata"
            for path, checksum, since in catalogue.files(number, repository):
                files[f"{top}/{repository}/{path}"] = File(current.tree / repository / path, checksum, since)
        retired = frozenset(f"{top}/{repository}/{path}" for repository, path in catalogue.retired_files(number))
    key = snapshots.root / f"RPM-GPG-KEY-{site.distribution.name}"
    files[key.name] = File(key, sha256_of(key), number)
    return Publication(
        number, current.record.made, publisher_of(snapshots.root), repositories, files, retired - files.keys()
    )


def _order(site: Site, folder: str) -> tuple[int, str]:
    """Return the sort key of a repository folder: sources and debuginfo, then the order of repositories.yaml."""
    names = [repository.name for repository in site.repositories.repositories]
    layout = site.repositories.layout
    for target in site.targets:
        for place, name in enumerate(names):
            if folder == layout.packages.format(repository=name, arch=target.rpm_arch):
                return place + 1, folder
    return 0, folder
