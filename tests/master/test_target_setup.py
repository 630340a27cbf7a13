"""The demo if the trees or guests of some targets cannot be made."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from config.loading import load_site
from master.client.target_setup import resume_hint, service_without, set_up_targets
from master.errors import ServiceError
from master.service.service import Service
from workers.results import GuestsResult, SandboxResult, TargetGuest, TargetTree

NAMES = ("x86_64", "x86_64_v2", "aarch64", "ppc64le", "s390x")


def _outcome(why: str | None) -> Any:
    return {"outcome": "passed"} if why is None else {"outcome": "cannot-run", "cause": why}


@dataclass(frozen=True)
class Mirror(Service):
    """A service whose set-up commands report missing targets."""

    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Command → target → why; ``*``: something that every target needs."""
    calls: list[tuple[str, str]] = field(default_factory=list)

    def kitten(self, *arguments: str, environment: Mapping[str, str] | None = None, **options: Any) -> Any:
        command, _, file = arguments
        self.calls.append((command, (environment or {}).get("KITTEN_MIRROR_WAIT", "as usual")))
        missing = self.missing.get(command, {})
        outcome = "cannot-run" if missing else "passed"
        names = () if "*" in missing else NAMES
        if command == "sandbox":
            trees = tuple(TargetTree(target=name, **_outcome(missing.get(name))) for name in names)
            SandboxResult(outcome=outcome, summary="", targets=trees).write(Path(file))
        else:
            guests = tuple(TargetGuest(target=name, **_outcome(missing.get(name))) for name in names)
            GuestsResult(outcome=outcome, summary="", targets=guests).write(Path(file))
        return subprocess.CompletedProcess(arguments, 2 if missing else 0)


@pytest.fixture(autouse=True)
def _without_the_users_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KITTEN_MIRROR_WAIT", raising=False)


def mirror(tmp_path: Path, missing: Mapping[str, Mapping[str, str]], **distribution: Any) -> Mirror:
    site = load_site("demo")
    site = site.model_copy(update={"distribution": site.distribution.model_copy(update=distribution)})
    return Mirror(site, "demo", tmp_path, missing=missing)


def recording_console() -> Console:
    return Console(file=io.StringIO(), width=300)


def test_the_demo_does_not_wait_for_some_missing_targets_and_the_others_go_on(tmp_path: Path) -> None:
    service, console = mirror(tmp_path, {"guests": {"ppc64le": "404 of linux-image"}}), recording_console()
    set_up = set_up_targets(service, console)
    assert set_up.no_guest == {"ppc64le": "404 of linux-image"}
    assert set_up.no_tree == {}
    assert service.calls == [("sandbox", "0"), ("guests", "0")]
    assert "ready for aarch64, s390x, x86_64, x86_64_v2\n" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_demo_waits_for_what_every_target_needs_before_it_fails(tmp_path: Path) -> None:
    service = mirror(tmp_path, {"sandbox": {"*": "503"}})
    with pytest.raises(ServiceError, match="kitten sandbox failed"):
        set_up_targets(service, recording_console())
    assert service.calls == [("sandbox", "0"), ("sandbox", "as usual")]


def test_a_wait_that_the_user_chose_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITTEN_MIRROR_WAIT", "5")
    service = mirror(tmp_path, {"sandbox": {"s390x": "503"}})
    assert set_up_targets(service, recording_console()).no_tree == {"s390x": "503"}
    assert service.calls == [("sandbox", "as usual"), ("guests", "as usual")]


def test_without_any_target_the_demo_ends_with_the_reason(tmp_path: Path) -> None:
    half = dict.fromkeys(NAMES[:3], "no compiler"), dict.fromkeys(NAMES[3:], "no kernel")
    with pytest.raises(ServiceError, match="no target can be set up: no kernel"):
        set_up_targets(mirror(tmp_path, {"sandbox": half[0], "guests": half[1]}), recording_console())


def test_a_site_that_may_degrade_goes_on_with_a_copy_and_shows_how_to_resume(tmp_path: Path) -> None:
    console = recording_console()
    degraded = service_without(mirror(tmp_path, {}), {"ppc64le": "404 [of] linux-image"}, console)
    assert not degraded.site.target("ppc64le").required
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "ppc64le cannot be set up: 404 [of] linux-image\n" in text
    assert f"export KITTEN_SITE={tmp_path}/site" in text
    assert "run the same command again" in resume_hint({"ppc64le": ""})
    assert resume_hint({}) == ""


def test_a_site_that_may_not_degrade_is_not_changed(tmp_path: Path) -> None:
    service, console = mirror(tmp_path, {}, may_degrade=False), recording_console()
    assert service_without(service, {"ppc64le": "404"}, console) is service
    assert not (tmp_path / "site").exists()
    assert "may_degrade" in console.file.getvalue()  # type: ignore[attr-defined]
