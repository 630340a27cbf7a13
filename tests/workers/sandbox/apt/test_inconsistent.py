"""Fallbacks for a mirror whose index and files contradict each other. With real apt, a real server, real signatures."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.workers.debian import ARCHITECTURE, Debian
from tests.workers.mirror import Fault, Faults, no_faults
from workers.base.errors import CannotRun
from workers.sandbox import apt

pytestmark = pytest.mark.slow


def fetched(*packages: str, suite: str = "trixie") -> list[str]:
    """Names of the files that were downloaded."""
    with tempfile.TemporaryDirectory() as folder:
        files = apt.with_lists(suite, ARCHITECTURE, lambda root: root.download([*packages], Path(folder)))
        return [path.name.removesuffix(f"_{ARCHITECTURE}.deb") for path in files]


def on(part: str, fault: Fault) -> Faults:
    """A fault on all paths that contain ``part``."""
    return lambda path: fault if part in path else None


def two_versions(debian: Debian) -> None:
    """The new version is in trixie. The old one is in the mirror's stable, and still in the pool."""
    old, new = debian.archive.package("tool", "1"), debian.archive.package("tool", "2")
    debian.archive.release("trixie", packages=[new])
    debian.archive.release("stable", packages=[old])


def test_a_consistent_mirror_is_asked_for_lists_once_a_day(debian: Debian):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    assert fetched("tool") == ["tool_1"]
    debian.mirror.asked.clear()
    assert fetched("tool") == ["tool_1"]
    assert debian.mirror.asked == ["pool/main/tool_1_s390x.deb"]
    debian.age(days=2)
    assert fetched("tool") == ["tool_1"]
    assert "dists/trixie/InRelease" in debian.mirror.asked
    assert not [path for path in debian.mirror.asked if "by-hash" in path], (
        "indexes that did not change are not fetched"
    )


@pytest.mark.parametrize("fault", [404, 503, "cut", "changed"])
def test_if_the_pool_lacks_a_file_the_lists_of_another_name_are_used(
    debian: Debian, capsys: pytest.CaptureFixture[str], fault: Fault
):
    two_versions(debian)
    debian.mirror.faults = on("pool/main/tool_2", fault)
    assert fetched("tool") == ["tool_1"]
    words = capsys.readouterr().out
    assert words.startswith("apt: trixie, s390x: ")
    assert "tool_2" in words
    assert "using the lists that the mirror serves as stable" in words
    debian.mirror.asked.clear()
    assert fetched("tool") == ["tool_1"]
    assert debian.mirror.asked == ["pool/main/tool_1_s390x.deb"], "the lists that served are used first"


STALE_BY_HASH: Faults = lambda path: (  # noqa: E731 - one of several in a table
    (404 if "by-hash" in path else "changed" if "Packages" in path else None) if "trixie/main" in path else None
)


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (STALE_BY_HASH, "Hash Sum mismatch"),
        (on("dists/trixie/main", 404), "404"),
        (on("dists/trixie/main", "cut"), "Mirror sync in progress"),
        (on("dists/trixie/main", "changed"), "Hash Sum mismatch"),
        (on("dists/trixie/InRelease", "cut"), "Splitting up"),
        (on("dists/trixie", 503), "503"),
    ],
    ids=["stale-by-hash", "no-index", "half-written-index", "wrong-checksum", "half-written-release", "503"],
)
def test_an_incomplete_index_is_read_under_another_name(
    debian: Debian, capsys: pytest.CaptureFixture[str], faults: Faults, reason: str
):
    two_versions(debian)
    debian.mirror.faults = faults
    assert fetched("tool") == ["tool_1"]
    words = capsys.readouterr().out
    assert reason in words
    assert "as stable" in words
    assert apt.private_root("trixie", ARCHITECTURE).name == "stable"


def test_lists_of_today_are_downloaded_again_if_the_mirror_has_changed(debian: Debian):
    old = debian.archive.package("tool", "1")
    debian.archive.release("trixie", packages=[old])
    assert fetched("tool") == ["tool_1"]
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "2")])
    old.unlink()
    assert fetched("tool") == ["tool_2"]


def test_leftovers_of_an_attempt_are_not_among_the_files(debian: Debian, tmp_path: Path):
    one, two = debian.archive.package("one", "2"), debian.archive.package("two", "2")
    debian.archive.release("trixie", packages=[one, two])
    debian.archive.release("stable", packages=[debian.archive.package("one", "1"), debian.archive.package("two", "1")])
    debian.mirror.faults = on("two_2", "cut")
    apt.with_lists("trixie", ARCHITECTURE, lambda root: root.download(["one", "two"], tmp_path / "debs"))
    assert sorted(path.name for path in (tmp_path / "debs").iterdir()) == ["one_1_s390x.deb", "two_1_s390x.deb"]


def test_the_lists_of_security_suites_have_other_names_too(debian: Debian):
    old, new = debian.archive.package("tool", "1"), debian.archive.package("tool", "2")
    debian.archive.release("bookworm-security", codename="bookworm-security", packages=[new], valid_days=7)
    debian.archive.release("oldstable-security", codename="bookworm-security", packages=[old], valid_days=7)
    debian.mirror.faults = on("tool_2", 404)
    assert fetched("tool", suite="bookworm-security") == ["tool_1"]


# ------------------------------------------------------------------------------------------------- older lists


def test_older_lists_are_used_if_no_name_works(debian: Debian, capsys: pytest.CaptureFixture[str]):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    fetched("tool")
    debian.age(days=3)
    debian.archive.release("trixie", "stable", packages=[debian.archive.package("tool", "2")])
    debian.mirror.faults = on("tool_2", 404)
    assert fetched("tool") == ["tool_1"]
    assert "using the kept lists of " in capsys.readouterr().out


def test_older_lists_are_used_if_the_mirror_cannot_be_reached(
    debian: Debian, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    fetched("tool")
    debian.age(days=3)
    debian.mirror.faults = on("dists", 403)
    assert fetched("tool") == ["tool_1"]
    assert "using the kept lists of " in capsys.readouterr().out


def test_lists_without_valid_until_are_used_for_two_weeks(debian: Debian, monkeypatch: pytest.MonkeyPatch):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    fetched("tool")
    debian.age(days=15)
    debian.mirror.faults = on("dists", 503)
    with pytest.raises(CannotRun, match=r"the kept lists of .*: too old since \d{4}-"):
        fetched("tool")
    monkeypatch.setenv("KITTEN_MIRROR_STALE_DAYS", "16")
    assert fetched("tool") == ["tool_1"]


@pytest.mark.parametrize(("expired", "serves"), [(3, True), (15, False)])
def test_lists_are_used_some_days_beyond_their_valid_until(
    debian: Debian, capsys: pytest.CaptureFixture[str], expired: float, serves: bool
):
    debian.configure('Acquire::Check-Valid-Until "false";')  # as if they were downloaded while they were valid
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")], valid_days=-expired)
    fetched("tool")
    debian.age(days=expired)
    debian.configure("")
    if serves:
        assert fetched("tool") == ["tool_1"]
        words = capsys.readouterr().out
        assert "is expired" in words
        assert f", {expired} days beyond their Valid-Until" in words
    else:
        with pytest.raises(CannotRun, match=r"is expired .*too old since"):
            fetched("tool")


def test_an_expired_release_is_an_error_without_a_wait(
    debian: Debian, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("KITTEN_MIRROR_WAIT", "600")
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")], valid_days=-1)
    with pytest.raises(CannotRun, match=r"Release file for .* is expired"):
        fetched("tool")
    assert "next attempt" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------- refused lists


def test_another_release_under_another_name_is_refused(debian: Debian):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "2")])
    debian.archive.release("stable", codename="forky", packages=[debian.archive.package("tool", "3")])
    debian.mirror.faults = on("tool_2", 404)
    with pytest.raises(CannotRun, match=r"as stable: the release signed there is forky"):
        fetched("tool")
    asked_for = {path for path in debian.mirror.asked if path.startswith(("dists/stable", "pool"))}
    assert asked_for == {"dists/stable/InRelease", "pool/main/tool_2_s390x.deb"}


def test_another_release_under_the_suites_own_name_is_refused(debian: Debian):
    debian.archive.release("trixie", codename="forky", packages=[debian.archive.package("tool", "3")])
    with pytest.raises(CannotRun, match="the release signed there is forky"):
        fetched("tool")


def test_a_suite_may_be_configured_by_a_name_that_moves_to_the_next_release(debian: Debian):
    debian.archive.release("stable", packages=[debian.archive.package("tool", "2")])
    assert fetched("tool", suite="stable") == ["tool_2"]
    debian.archive.release("stable", codename="forky", packages=[debian.archive.package("tool", "3")])
    debian.age(days=2)
    assert fetched("tool", suite="stable") == ["tool_3"]


INSECURE = """
APT::Get::AllowUnauthenticated "true";
Acquire::AllowInsecureRepositories "true";
Acquire::AllowDowngradeToInsecureRepositories "true";
Acquire::AllowWeakRepositories "true";
"""


@pytest.mark.parametrize("signed", ["by another", "not at all"])
@pytest.mark.parametrize("host", ["", INSECURE], ids=["host", "careless-host"])
def test_a_release_without_a_valid_signature_is_refused(debian: Debian, signed: str, host: str):
    debian.configure(host)
    debian.archive.release(
        "trixie",
        packages=[debian.archive.package("tool", "1")],
        key=debian.other_key,
        signed=signed == "by another",
    )
    with pytest.raises(CannotRun, match="NO_PUBKEY|Missing key" if signed == "by another" else "is not signed"):
        fetched("tool")
    assert not [path for path in debian.mirror.asked if path.startswith("pool")]


def test_another_name_without_a_valid_signature_is_refused(debian: Debian):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "2")])
    debian.archive.release("stable", packages=[debian.archive.package("tool", "1")], key=debian.other_key)
    debian.mirror.faults = on("tool_2", 404)
    with pytest.raises(CannotRun, match=r"tool_2.*as stable: .*(NO_PUBKEY|Missing key)"):
        fetched("tool")
    assert "pool/main/tool_1_s390x.deb" not in debian.mirror.asked


# ------------------------------------------------------------------------------------------------- errors


def test_the_error_is_one_line_with_mirror_suite_and_architecture(debian: Debian):
    debian.archive.release("trixie", "stable", packages=[debian.archive.package("tool", "1")])
    debian.mirror.faults = on("pool", 404)
    with pytest.raises(CannotRun) as caught:
        fetched("tool")
    assert "\n" not in caught.value.what
    assert caught.value.what.startswith(f"the mirror {debian.mirror.url} is inconsistent for trixie, s390x: ")
    assert "tool_1_s390x.deb 404 Not Found" in caught.value.what
    assert "as stable: the same lists" in caught.value.what
    assert "KITTEN_DEBIAN_MIRROR=URL" in caught.value.hint


def test_an_unknown_package_is_reported_at_once_with_apts_message(debian: Debian):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    with pytest.raises(CannotRun, match="Unable to locate package tol"):
        fetched("tol")
    assert not [path for path in debian.mirror.asked if "stable" in path]


def test_a_mirror_without_the_architecture_is_an_error(debian: Debian):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    with pytest.raises(CannotRun, match=r"has no lists of trixie for riscv64"):
        apt.private_root("trixie", "riscv64")


def test_a_mirror_that_stalls_ends_in_an_error(debian: Debian):
    debian.archive.release("trixie", packages=[debian.archive.package("tool", "1")])
    debian.mirror.faults = on("pool", "stalled")
    with pytest.raises(CannotRun, match=r"apt-get download tool .*Connection timed out"):
        fetched("tool")
    debian.mirror.faults = no_faults
    assert fetched("tool") == ["tool_1"]
