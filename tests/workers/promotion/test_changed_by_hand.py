"""A repomd.xml that somebody edited: each command reports it in one line, with a hint. (dnf: test_client.py.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion.user_view import versions
from tests.workers.publishing import BuildFactory
from tests.workers.repository.test_client import replace
from workers.base.errors import CannotRun
from workers.mirrors.compose_tree import content_of
from workers.mirrors.pushing import push_current
from workers.promotion.publish import publish
from workers.promotion.rollback import rollback
from workers.repository.state import named_stage, snapshots_of

INDEX = "published/.snapshots/{number:04}/{repository}/repodata/repomd.xml"


def edited(state: Path, number: int, repository: str) -> Path:
    path = state / INDEX.format(number=number, repository=repository)
    replace(path, path.read_bytes().replace(b"<revision>", b"<revision>1"))
    return path


@pytest.mark.parametrize("repository", ["BaseOS/aarch64/os", "sandbox-base/aarch64/os"])
def test_the_next_publication_reports_it_and_writes_it_again(
    site: Site, state: Path, make_build: BuildFactory, capsys: pytest.CaptureFixture[str], repository: str
) -> None:
    """Whether the publication changes that repository or not."""
    publish(site, state, "aarch64", str(make_build()))
    path = edited(state, 1, repository)
    capsys.readouterr()
    publish(site, state, "aarch64", str(make_build(version="2")))
    assert capsys.readouterr().err == f"warning: {path} was changed by hand; it is written again\n"
    current = snapshots_of(site, state, named_stage(site, "kitten")).current()
    assert current is not None
    assert current.changed_by_hand() == []
    assert current.record.indexes.keys() == set(current.record.repositories)
    assert versions(state, site) == {"aarch64": "tiny-2-1.el10"}


def test_a_rollback_to_the_same_content_repairs_it_and_unchanged_ones_stay(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    publish(site, state, "aarch64", str(make_build()))
    assert rollback(site, state, 1).endswith("nothing to switch")
    edited(state, 1, "BaseOS/Source")
    assert rollback(site, state, 1) == "snapshot 2 shows the content of 1 in place of 1"
    assert versions(state, site) == {"aarch64": "tiny-1-1.el10"}
    assert rollback(site, state, 2).endswith("nothing to switch")


def test_it_never_reaches_a_bucket_or_a_compose(site: Site, state: Path, make_build: BuildFactory) -> None:
    publish(site, state, "aarch64", str(make_build()))
    path = edited(state, 1, "BaseOS/aarch64/os")
    stage = named_stage(site, "kitten").model_copy(update={"bucket": "s3://nowhere/p"})
    snapshots = snapshots_of(site, state, stage)
    current = snapshots.current()
    assert current is not None
    for work in (lambda: push_current(site, stage, snapshots), lambda: content_of(current)):
        with pytest.raises(CannotRun) as caught:
            work()
        assert caught.value.what == f"{path} was changed by hand: publication 1 wrote another one"
        assert caught.value.hint == "kitten rollback --to 1 writes it again"


def test_one_that_is_gone_is_written_again_too(site: Site, state: Path, make_build: BuildFactory) -> None:
    publish(site, state, "aarch64", str(make_build()))
    (state / INDEX.format(number=1, repository="BaseOS/aarch64/os")).unlink()
    publish(site, state, "x86_64", str(make_build("x86_64")))
    assert versions(state, site) == {"aarch64": "tiny-1-1.el10", "x86_64": "tiny-1-1.el10"}
