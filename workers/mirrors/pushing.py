"""What a stage publishes, brought to its bucket after each publication."""

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
    """Bring the stage's bucket to what users of its folder see; None where it has no bucket, or nothing is published.

    :param take_over: the bucket was filled from another folder, which no longer publishes.
    :param everything: look at every object, not only at what is new.
    :raises CannotRun: when the bucket cannot be written, or an index was changed by hand. What is published here stays
        so, and the next call ends the work.
    """
    publication = publication_of(site, snapshots) if stage.bucket else None
    if publication is None:
        return None
    return push(publication, stage.bucket, take_over=take_over, verify=everything)


def publication_of(site: Site, snapshots: Snapshots) -> Publication | None:
    """What users of a stage's folder see, as it is to lie in a bucket; None before the first publication.

    :raises CannotRun: when an index was changed by hand: it is not to reach anybody.
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
    """Those that others need first: sources and debuginfo, then repositories in the order of repositories.yaml."""
    names = [repository.name for repository in site.repositories.repositories]
    layout = site.repositories.layout
    for target in site.targets:
        for place, name in enumerate(names):
            if folder == layout.packages.format(repository=name, arch=target.rpm_arch):
                return place + 1, folder
    return 0, folder
