"""``kitten guests``: a target whose parts are missing on the mirror does not stop the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config.loading import load_site
from tests.workers.debian import Debian
from tests.workers.mirror import serving
from workers.base import cache
from workers.base.errors import CannotRun
from workers.lab import cli
from workers.lab.guest.kernel import guest_parts
from workers.results import GuestsResult
from workers.sandbox import apt


def guests(result_file: Path, *targets: str) -> tuple[Result, GuestsResult]:
    options = [option for target in targets for option in ("--target", target)]
    done = CliRunner().invoke(cli.guests, ["--site", "demo", "--json", str(result_file), *options])
    return done, GuestsResult.read(result_file.read_text())


def test_each_target_that_fails_is_named_with_its_reason(debian: Debian, tmp_path: Path):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    done, result = guests(tmp_path / "guests.json", "s390x", "ppc64le")
    assert isinstance(done.exception, CannotRun)
    assert result.outcome == "cannot-run"
    assert [target.target for target in result.failed] == ["s390x", "ppc64le"]
    assert "No packages found" in result.targets[0].cause
    assert "has no lists of trixie for ppc64el" in result.targets[1].cause
    for target in result.targets:
        assert f"no guest of {target.target}: {target.cause}\n" in done.output
        assert f"\n  {target.target}: {target.cause}\n    → {target.hint}" in str(done.exception)


@pytest.mark.guest
def test_a_mirror_without_the_packages_of_one_architecture_stops_only_that_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    parts = guest_parts(load_site("demo").target("aarch64")).folder  # from the cache, as in every test with a guest
    own = tmp_path / "cache"
    (own / "guests").mkdir(parents=True)
    (own / "guests" / parts.name).symlink_to(parts)
    upstream = apt.mirror()
    monkeypatch.setenv("KITTEN_CACHE", str(own))
    monkeypatch.setenv("KITTEN_MIRROR_WAIT", "0")
    assert cache.root() == own
    with serving(upstream, lambda path: 404 if path.endswith("_ppc64el.deb") else None) as mirror:
        monkeypatch.setenv("KITTEN_DEBIAN_MIRROR", mirror.url)
        done, result = guests(tmp_path / "guests.json", "ppc64le", "aarch64")
    assert isinstance(done.exception, CannotRun)
    assert [(target.target, target.outcome) for target in result.targets] == [
        ("ppc64le", "cannot-run"),
        ("aarch64", "passed"),
    ]
    assert f"the mirror {mirror.url} is inconsistent for trixie, ppc64el: " in result.targets[0].cause
    assert "guest of aarch64: kernel " in done.output
