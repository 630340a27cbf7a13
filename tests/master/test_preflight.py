"""The check of the host before a demo: each shortage shows what the host has, what is needed and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from config.loading import load_site
from master.cli import demo as command
from master.client import preflight
from master.client.preflight import BESIDES, CACHE, GB, MIB, STATE, FileSystem, Host, shortages
from master.errors import ServiceError
from master.service.service import Service

SITE = load_site("demo")
COLD = sum(CACHE.values()) + BESIDES
EMULATORS = frozenset(target.machine.emulator for target in SITE.targets)
GOOD = Host(
    cache=FileSystem(Path("/c"), 1, COLD),
    state=FileSystem(Path("/s"), 2, STATE),
    memory=8 << 30,
    available=8 << 30,
    programs=EMULATORS,
)


def shortages_with(**changes: Any) -> list[str]:
    return [str(one) for one in shortages(SITE, replace(GOOD, **changes))]


def test_a_host_with_everything_has_no_shortage() -> None:
    assert shortages_with() == []


def test_cache_and_state_are_checked_on_their_own_file_systems() -> None:
    assert "for the cache (/c)" in shortages_with(cache=FileSystem(Path("/c"), 1, COLD - 1))[0]
    assert "for the state (/s)" in shortages_with(state=FileSystem(Path("/s"), 2, STATE - 1))[0]


def test_on_one_file_system_the_needs_are_added() -> None:
    free = COLD + STATE - 1
    (line,) = shortages_with(cache=FileSystem(Path("/c"), 1, free), state=FileSystem(Path("/s"), 1, free))
    assert f"{(COLD + STATE) / GB:.1f} GB are needed" in line
    assert "→ free some" in line
    assert shortages_with(cache=FileSystem(Path("/c"), 1, free + 1), state=FileSystem(Path("/s"), 1, free + 1)) == []


def test_a_warm_cache_needs_only_space_for_temporary_files() -> None:
    tight = FileSystem(Path("/c"), 1, BESIDES)
    warm = {**{kind: size for kind, size in CACHE.items() if kind}, "lookaside": CACHE[""]}
    assert shortages_with(cache=tight, cache_sizes=warm) == []
    assert shortages_with(cache=tight, cache_sizes={**warm, "trees": 0})
    assert shortages_with(cache=FileSystem(Path("/c"), 1, BESIDES - 1), cache_sizes=warm)


def test_much_of_one_kind_does_not_count_for_another() -> None:
    assert shortages_with(cache=FileSystem(Path("/c"), 1, BESIDES), cache_sizes={"trees": 100 * GB})


def test_a_state_folder_of_an_earlier_demo_needs_no_space() -> None:
    assert shortages_with(state=FileSystem(Path("/s"), 2, 0), state_size=STATE) == []


def test_too_little_memory_is_fatal_and_memory_in_use_is_not() -> None:
    (small,) = shortages(SITE, replace(GOOD, memory=2 << 30))
    assert (small.fatal, "this host has 2,048 MiB" in small.what) == (True, True)
    (busy,) = shortages(SITE, replace(GOOD, available=1 << 30))
    assert (busy.fatal, "1,024 MiB are free" in busy.what) == (False, True)


def test_the_largest_guest_must_fit_into_the_share_of_guests() -> None:
    target = SITE.targets[0]
    large = target.model_copy(update={"machine": target.machine.model_copy(update={"memory_mib": 9000})})
    site = SITE.model_copy(update={"targets": (large,)})
    (line,) = shortages(site, GOOD)
    assert f"{int((9000 + 256) / 0.75):,} MiB are needed" in line.what
    assert shortages(site, replace(GOOD, memory=int((9000 + 256) / 0.75 + 1) * MIB)) == []


def test_without_user_namespaces_nothing_is_built() -> None:
    (found,) = shortages(SITE, replace(GOOD, namespaces="unshare: unshare failed: Operation not permitted"))
    assert found.fatal
    assert "Operation not permitted" in found.what
    assert "apparmor_restrict_unprivileged_userns" in found.hint


def test_an_old_kernel_names_the_targets_that_cannot_be_built_there() -> None:
    (found,) = shortages(SITE, replace(GOOD, linux=(6, 1)))
    assert not found.fatal
    assert "Linux 6.1; builds for aarch64, ppc64le, s390x need Linux 6.7" in found.what


def test_a_missing_qemu_names_the_targets_that_are_not_tested() -> None:
    (found,) = shortages(SITE, replace(GOOD, programs=EMULATORS - {"qemu-system-s390x"}))
    assert not found.fatal
    assert "qemu-system-s390x is not installed; nothing is tested on s390x" in found.what


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-37-amd64", (6, 1)), ("6.18.44-x", (6, 18)), ("6.12", (6, 12)), ("none", (0, 0))]
)
def test_a_release_of_linux_is_read(release: str, version: tuple[int, int]) -> None:
    assert preflight.linux_version(release) == version


def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path / "cache"))
    return Service(SITE, "demo", tmp_path / "state")


def test_this_host_is_inspected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tmp_path / "cache" / "trees" / "abc"
    entry.mkdir(parents=True)
    (entry.parent / ".abc.lock").touch()
    (entry / "file").write_bytes(b"x" * 50_000)
    host = preflight.inspect_host(service(tmp_path, monkeypatch))
    assert host.cache.folder == tmp_path / "cache"
    assert host.cache.device == host.state.device == tmp_path.stat().st_dev
    assert 50_000 <= host.cache_sizes["trees"] < 100_000
    assert 0 < host.available < host.memory
    assert host.linux > (2, 6)


def test_force_turns_a_fatal_shortage_into_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "MEMORY", 1 << 60)
    warnings: list[str] = []
    with pytest.raises(ServiceError, match=r"memory: this host has .* are needed"):
        preflight.check(service(tmp_path, monkeypatch), warnings.append)
    assert warnings == []
    preflight.check(service(tmp_path, monkeypatch), warnings.append, force=True)
    assert warnings[0].startswith("warning: memory: this host has ")


def test_a_demo_on_a_host_that_is_too_small_ends_before_it_writes_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service(tmp_path, monkeypatch)
    monkeypatch.setattr(preflight, "STATE", 1 << 60)
    done = CliRunner().invoke(command, ["--state", str(tmp_path / "state")])
    assert done.exit_code == 2
    assert "disk: " in done.output
    assert "kitten demo --force" in done.output
    assert not (tmp_path / "state").exists()
