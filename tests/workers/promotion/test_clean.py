"""What ``kitten clean`` removes, what it keeps, and the reason it gives for each."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.loading import load_site
from config.models import Retention, Site
from tests.workers.promotion.kills import killed_at
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun
from workers.promotion import clean as work
from workers.promotion.clean_cli import clean as command
from workers.promotion.publish import publish as publish_build
from workers.promotion.stage import stage as stage_build
from workers.promotion.store import Store
from workers.repository.records import PublishedRecord
from workers.repository.retention import Found, Needed, judge, keep_snapshots
from workers.repository.snapshot import Snapshots
from workers.results import Artifact, BuildResult, CleanResult, SourceResult

DAY, NOW = 86400.0, 1_800_000_000.0
SRPM = "5" * 64
Put = Callable[..., Path]


@pytest.fixture
def site(site_path: Path) -> Site:
    return load_site(str(site_path)).model_copy(update={"retention": Retention()})


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """(group, letter, age in days) → a folder of the store as the builders leave it."""

    def make(group: str, letter: str, days: float, package: str = "tiny", srpm: str = SRPM, **more: object) -> Path:
        parent, _, target = f"{group}/{package if 'sources' in group else 'x86_64'}".rpartition("/")
        folder = tmp_path / "artifacts" / parent / target / (letter * 64)
        folder.mkdir(parents=True)
        artifact = Artifact(name="tiny.src.rpm", url="", sha256=srpm, size=1)
        common = {"summary": "made", "package": package, "nevr": f"{package}-1-1", "srpm": artifact, **more}
        if "sources" in group:
            SourceResult(branch="b", commit="c", **common).write(folder / "source.json")  # type: ignore[arg-type]
        else:
            BuildResult(target=target, **common).write(folder / "build.json")  # type: ignore[arg-type]
        (folder / "x.rpm").write_bytes(b"x" * 1000)
        aged(folder, days)
        return folder

    return make


def aged(folder: Path, days: float) -> None:
    for path in (*folder.iterdir(), folder):
        os.utime(path, (NOW - days * DAY, NOW - days * DAY), follow_symlinks=False)


def publish(state: Path, folder: Path, build: str = "") -> None:
    """A snapshot that shows a build of this folder."""
    words = {"package": "tiny", "target": "x86_64", "nevr": "tiny-1-1", "evr": "0:1-1", "published": "", "files": ()}
    url = build or str(folder)
    record = PublishedRecord(identity=folder.name, build=url, snapshot=1, **words)  # type: ignore[arg-type]
    with Snapshots(state / "published", "10-kitten").draft(()) as draft:
        draft.set_record(record)
        draft.finish("a build", lambda _repomd: None)


def gone(site: Site, state: Path) -> list[str]:
    """Names of the folders that are removed."""
    return [verdict.found.name for verdict in work.clean(site, state, clock=lambda: NOW) if not verdict.stays]


def reasons(site: Site, state: Path) -> dict[str, tuple[bool, str]]:
    return {v.found.path.rpartition("/")[2][:3]: (v.stays, v.why) for v in work.plan(site, state, NOW)}


def test_every_folder_has_its_reason(site: Site, tmp_path: Path, put: Put) -> None:
    for letter, days in (("1", 2), ("2", 3), ("3", 4), ("4", 5), ("6", 0.5)):
        put("builds", letter, days)
    publish(tmp_path, put("builds", "5", 90))
    put("failed", "7", 13), put("failed", "8", 15)
    put("try/builds", "9", 15), put("try/sources", "a", 13)
    put("sources", "b", 99), put("sources", "c", 99, srpm="6" * 64), put("sources", "d", 13, srpm="7" * 64)
    assert reasons(site, tmp_path) == {
        "666": (True, "younger than 24 h: a running or waiting build may read it"),
        "111": (True, "number 2 of the 3 newest of tiny on x86_64"),
        "222": (True, "number 3 of the 3 newest of tiny on x86_64"),
        "333": (False, "3 newer builds of tiny on x86_64, neither published nor staged"),
        "444": (False, "3 newer builds of tiny on x86_64, neither published nor staged"),
        "555": (True, "published: a kept snapshot names it"),
        "777": (True, "13.0 days old, less than failed_days: 14"),
        "888": (False, "15.0 days old, over failed_days: 14"),
        "999": (False, "15.0 days old, over try_days: 14"),
        "aaa": (True, "13.0 days old, less than try_days: 14"),
        "bbb": (True, "a build that stays was made from it"),
        "ccc": (False, "99.0 days old, over source_days: 14"),
        "ddd": (True, "13.0 days old, less than source_days: 14"),
    }


def test_published_build_is_known_by_its_identity_after_a_move(site: Site, tmp_path: Path, put: Put) -> None:
    for letter in "1234":
        put("builds", letter, 20 + int(letter))
    publish(tmp_path, tmp_path / ("4" * 64), build="/srv/before/builds/x86_64/elsewhere")
    assert reasons(site, tmp_path)["444"] == (True, "published: a kept snapshot names it")


def test_what_testing_has_stays_though_kitten_has_it_not(staged: Site, state: Path, make_build: BuildFactory) -> None:
    """And what only a kept snapshot of testing has; what no stage has goes."""
    site = staged.model_copy(update={"retention": Retention(builds_per_package=1)})
    before = make_build(version="1")
    publish_build(site, state, "aarch64", str(before))
    now = make_build(version="2")
    assert publish_build(site, state, "aarch64", str(now)).stage == "testing"
    never = make_build(version="3")
    newest = make_build(version="4")
    for days, folder in enumerate((newest, never, now, before), 90):
        aged(folder, days)
    verdicts = {v.found.nevr: (v.stays, v.why) for v in work.plan(site, state, NOW)}
    published = (True, "published: a kept snapshot names it")
    assert verdicts == {
        "tiny-4-1.el10": (True, "number 1 of the 1 newest of tiny on aarch64"),
        "tiny-3-1.el10": (False, "1 newer builds of tiny on aarch64, neither published nor staged"),
        "tiny-2-1.el10": published,
        "tiny-1-1.el10": published,
    }
    work.clean(site, state, clock=lambda: NOW)
    assert (newest.exists(), never.exists(), now.exists(), before.exists()) == (True, False, True, True)


def test_a_promotion_to_any_signed_stage_keeps_waiting_while_folders_leave(
    staged: Site, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in ("testing", "published"):
        (state / stage).mkdir(parents=True)
    original, held = work.needed, []

    def looks(*given: object) -> Needed:
        for stage in ("testing", "published"):
            with (state / stage / ".lock").open("a") as handle, pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held.append(stage)
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(work, "needed", looks)
    work.clean(staged, state, clock=lambda: NOW)
    assert held == ["testing", "published"]


def test_what_is_staged_stays_though_newer_builds_failed_to_get_there(
    site: Site, state: Path, make_build: BuildFactory
) -> None:
    site = site.model_copy(update={"retention": Retention(builds_per_package=1)})
    folders = [make_build(version=version) for version in "123"]
    stage_build(site, state, "aarch64", str(folders[0]))
    for days, folder in enumerate(reversed(folders), 90):
        aged(folder, days)
    verdicts = {v.found.nevr: (v.stays, v.why) for v in work.plan(site, state, NOW)}
    assert verdicts["tiny-1-1.el10"] == (True, "staged: the buildroot of aarch64 has packages of it")
    assert verdicts["tiny-2-1.el10"][0] is False
    stage_build(site, state, "aarch64", str(folders[2]))
    for path in (state / "staged/aarch64/packages").iterdir():
        if path.name in {rpm.sha256 for rpm in BuildResult.read((folders[0] / "build.json").read_text()).rpms}:
            shutil.rmtree(path)  # as the next call does an hour later
    assert reasons(site, state)[folders[0].name[:3]][0] is False


def test_nothing_goes_if_the_staged_packages_cannot_be_read(site: Site, tmp_path: Path, put: Put) -> None:
    folder = put("failed", "1", 99)
    (tmp_path / "staged/x86_64").mkdir(parents=True)
    (tmp_path / "staged/x86_64/packages").symlink_to(tmp_path / "staged/x86_64/packages")
    with pytest.raises(CannotRun, match="cannot read the staged packages: ") as caught:
        work.clean(site, tmp_path, clock=lambda: NOW)
    assert caught.value.hint == "fix it first; nothing was removed"
    assert folder.is_dir()


def test_published_build_goes_if_the_policy_says_so() -> None:
    found = [Found(f"builds/t/{i}", "build", NOW - i * DAY, 1, "tiny", "t") for i in range(2, 6)]
    policy = Retention(keep_published=False, builds_per_package=1)
    verdicts = judge(policy, found, Needed(identities=frozenset("5")), NOW)
    assert [verdict.stays for verdict in verdicts] == [True, False, False, False]


def test_what_cannot_be_understood_stays(site: Site, tmp_path: Path, put: Put) -> None:
    (put("failed", "1", 99) / "build.json").write_text("{")
    aged(tmp_path / "artifacts/failed/x86_64" / ("1" * 64), 99)
    shutil.copytree(put("failed", "2", 99), tmp_path / "artifacts/failed/x86_64/of-mine")
    outside = tmp_path / "outside"
    shutil.move(put("failed", "3", 99), outside)
    (tmp_path / "artifacts/failed/x86_64" / ("3" * 64)).symlink_to(outside)
    (tmp_path / "artifacts/failed/other").symlink_to(tmp_path / "artifacts/failed/x86_64")
    found = reasons(site, tmp_path)
    assert found["111"][0]
    assert found["111"][1].startswith("its build.json cannot be understood: not a result of BuildResult, version 2: ")
    assert found["of-"] == (True, "not a name that kitten gives")
    assert found["333"] == (True, "not a folder that kitten made: a link or a file")
    assert gone(site, tmp_path) == ["2" * 64]
    assert (outside / "x.rpm").is_file()


def test_leftovers_of_killed_runs_go(site: Site, tmp_path: Path, put: Put) -> None:
    folder = put("builds", "1", 2)
    left = ("host-1.partial", "host-1.old", "gone", "partial", "old.77")  # the last two: of former versions
    for name in (f".{folder.name}.{what}" for what in left):
        shutil.copytree(folder, folder.with_name(name))
        aged(folder.with_name(name), 2)
    whole = put("builds", "2", 2)
    (whole / "build.json").unlink()
    aged(whole, 2)
    assert len(gone(site, tmp_path)) == 6
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_that_came_to_life_again_stays(
    site: Site, tmp_path: Path, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put("failed", "1", 99)
    original = work.needed

    def late(*given: object) -> Needed:
        os.utime(folder / "build.json", (NOW, NOW))
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(work, "needed", late)
    (verdict,) = work.clean(site, tmp_path, clock=lambda: NOW)
    assert (verdict.stays, verdict.why) == (True, "used again during this run")
    assert folder.is_dir()


def test_nothing_goes_if_a_record_cannot_be_read(site: Site, tmp_path: Path, put: Put) -> None:
    folder = put("failed", "1", 99)
    publish(tmp_path, folder)
    (tmp_path / "published/.catalogue.sqlite").write_text("{")
    with pytest.raises(CannotRun, match="cannot read stage kitten: ") as caught:
        work.clean(site, tmp_path, clock=lambda: NOW)
    assert caught.value.hint == "fix it first; nothing was removed"
    assert folder.is_dir()


def test_killed_at_every_step_no_folder_is_half_there(site: Site, tmp_path: Path, put: Put) -> None:
    steps, ended = 1, False
    while not ended:
        shutil.rmtree(tmp_path / "artifacts", ignore_errors=True)
        folders = [put("failed", letter, 99) for letter in "123"]
        ended = not killed_at(steps, lambda: work.clean(site, tmp_path, clock=lambda: NOW))
        for folder in folders:
            assert not folder.exists() or sorted(path.name for path in folder.iterdir()) == ["build.json", "x.rpm"]
        work.clean(site, tmp_path, clock=lambda: NOW + 99 * DAY)
        assert list(folders[0].parent.iterdir()) == []
        steps += 1
    assert steps > 5


def test_store_behind_a_url(tmp_path: Path, put: Put) -> None:
    import fsspec

    put("failed", "1", 99)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "artifacts"), "/artifacts", recursive=True)
    store = Store("memory://artifacts")
    (found,) = store.found()
    assert (found.kind, found.package, found.target, found.size > 1000) == ("failed build", "tiny", "x86_64", True)
    path = store.aside(found)
    assert path is not None
    assert [f.kind for f in store.found()] == ["leftover"]
    store.remove(path, found)
    assert list(store.found()) == []


def test_command_lists_and_with_yes_removes(site_path: Path, tmp_path: Path, put: Put) -> None:
    folder = put("failed", "1", 9999)
    words = ["--site", str(site_path), "--state", str(tmp_path)]
    output = CliRunner().invoke(command, words)
    assert output.exit_code == 0, output.output
    assert "over failed_days: 14" in output.output
    assert output.output.splitlines()[-1].endswith(
        " would go, 0 folders (0.0 MB) stay; remove them: kitten clean --yes"
    )
    assert folder.is_dir()
    why = CliRunner().invoke(command, [*words, "--explain", str(folder)])
    assert why.output.startswith(f"failed/x86_64/{folder.name} goes: ")
    done = CliRunner().invoke(command, [*words, "--yes"])
    assert done.output.splitlines()[-1] == "removed 1 folder (0.0 MB); 0 folders (0.0 MB) stay"
    assert not folder.exists()
    assert CliRunner().invoke(command, words).output == "nothing would go; 0 folders (0.0 MB) stay\n"
    assert CliRunner().invoke(command, [*words, "--yes"]).output == "nothing to remove; 0 folders (0.0 MB) stay\n"
    nothing = CliRunner().invoke(command, [*words, "--explain", "/nowhere"])
    assert isinstance(nothing.exception, CannotRun)
    assert nothing.exception.what == "the artifact store has no folder /nowhere"


def test_result_file_names_what_went_and_how_much(site_path: Path, tmp_path: Path, put: Put) -> None:
    folder, result = put("failed", "1", 9999), tmp_path / "result.json"
    os.utime(put("failed", "2", 1) / "build.json")
    words = ["--site", str(site_path), "--state", str(tmp_path), "--json", str(result)]
    for more, dry in (((), True), (("--yes",), False)):
        assert CliRunner().invoke(command, [*words, *more]).exit_code == 0
        output = CleanResult.read(result.read_text())
        (one,) = output.folders
        assert (output.dry, one.path, one.kind, one.what) == (
            dry,
            f"failed/x86_64/{folder.name}",
            "failed build",
            "tiny-1-1",
        )
        assert one.why.endswith("over failed_days: 14")
        assert output.size == one.size > 1000
        assert (output.staying, output.staying_size > 1000) == (1, True)
        assert output.summary.startswith(
            "1 folder (0.0 MB) would go" if dry else "removed 1 folder (0.0 MB); 1 folder "
        )
    (tmp_path / "published" / ".snapshots").mkdir(parents=True)
    (tmp_path / "published" / ".snapshots" / "current").symlink_to("0007")
    (tmp_path / "published" / ".snapshots" / "0007").mkdir()
    (tmp_path / "published" / ".snapshots" / "0007" / "snapshot.json").write_text("{")
    failed = CliRunner().invoke(command, [*words, "--yes"])
    assert isinstance(failed.exception, CannotRun)
    output = CleanResult.read(result.read_text())
    assert (output.outcome, output.dry, output.folders) == ("cannot-run", False, ())
    assert output.cause.startswith("cannot read stage kitten: ")


def test_snapshots_that_stay() -> None:
    policy = Retention(snapshots=2, daily_days=3)
    at = {1: 10.2, 2: 12.1, 3: 12.9, 4: 13.5, 5: 14.1, 6: 14.2, 7: 14.3}
    start = 20_000 * DAY
    kept = keep_snapshots(policy, {number: start + day * DAY for number, day in at.items()}, start + 14.5 * DAY)
    assert kept == {3, 4, 6, 7}
    assert keep_snapshots(policy, {}, NOW) == frozenset()
    assert keep_snapshots(Retention(snapshots=1, daily_days=0), {8: 0.0, 9: 1.0}, NOW) == {9}
