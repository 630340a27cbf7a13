"""Errors of the service and mistakes of its users: one clear message each, and no process is left."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.loading import load_site
from master import cli
from master.client import revisions, try_client
from master.errors import ServiceError
from master.service.ports import Ports
from master.service.service import Service
from master.service.supervisor import program_section

pytestmark = pytest.mark.slow

KITTEN = Path(sys.executable).parent / "kitten"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(load_site("demo"), "demo", tmp_path / "state")


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def kitten(*arguments: str, state: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [KITTEN, *arguments, "--state", state], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_port_in_use_is_named_with_a_hint(service: Service, taken_port: int) -> None:
    with pytest.raises(ServiceError, match=f"port {taken_port} is in use.*\n.*kitten up --port"):
        service.start(print, taken_port)
    assert service.processes() == []


def test_the_command_line_shows_the_error_and_exits_2(tmp_path: Path, taken_port: int) -> None:
    done = kitten("up", "--port", str(taken_port), state=tmp_path)
    assert done.returncode == 2
    assert f"port {taken_port} is in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--packages", "bzip3"], "unknown package 'bzip3'; there are: bzip2"),
        (["up", "--site", "nowhere"], "nowhere"),
        (["status"], "no service runs"),
        (["try", "--package", "zlib", "--target", "vax"], "unknown target 'vax'; there are: x86_64"),
        (["try", "--package", "zlib"], "no service runs"),
    ],
)
def test_a_users_mistake_is_one_clear_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = kitten(*arguments, state=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_a_master_that_does_not_answer_is_reported_without_a_traceback(
    tmp_path: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(Service, "ports", lambda _service: Ports(port, taken_port, taken_port))
    monkeypatch.setattr(Service, "processes", lambda _service: [{"name": "master"}])
    monkeypatch.setattr(revisions, "head", lambda _service, _package: ("", ""))
    done = CliRunner().invoke(cli.status, ["--state", str(tmp_path)])
    assert done.exit_code == 2
    assert "kitten: the master does not answer: " in done.output
    assert "→ it may be restarting" in done.output


def test_to_stop_a_service_that_does_not_run_is_no_error(service: Service) -> None:
    printed: list[str] = []
    service.stop(printed.append)
    assert printed == ["nothing runs"]


def test_a_state_folder_too_deep_for_a_socket_is_refused_before_anything_starts(tmp_path: Path) -> None:
    deep = Service(load_site("demo"), "demo", tmp_path / ("d" * 100))
    with pytest.raises(ServiceError, match="too long"):
        deep.start(print)


def test_percent_signs_and_quotes_reach_a_program_unchanged() -> None:
    section = program_section("w", Path("/a"), {"X": '50%"'}, Path("/l"))
    assert 'X="50%%\\""' in section


def test_a_checkout_without_changes_is_no_patch(tmp_path: Path) -> None:
    for command in (
        ["init", "-qb", "c10s"],
        ["commit", "-qm", "x", "--allow-empty"],
        ["update-ref", "refs/remotes/origin/c10s", "HEAD"],
    ):
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *command],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    with pytest.raises(ServiceError, match="has no changes"):
        try_client.patch_of_checkout(tmp_path, "c10s")
    (tmp_path / "new").write_text("x\n")
    subprocess.run(["git", "add", "new"], cwd=tmp_path, check=True)
    patch, base = try_client.patch_of_checkout(tmp_path, "c10s")
    assert "+x" in patch
    assert len(base) == 40


def test_a_folder_that_is_no_checkout_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="clone of the package's dist-git"):
        try_client.patch_of_checkout(tmp_path, "c10s")


def test_a_refused_connection_fails_at_once(taken_port: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    attempt = try_client.Try("zlib", "", "c10s", "0" * 40, (), "contributor", "x")
    with pytest.raises(ServiceError, match="no master accepts try-builds"):
        try_client.deliver(attempt, port)


@pytest.mark.parametrize(
    ("log", "started"),
    [
        ("Starting BuildMaster -- 1\nBuildMaster is running\n", True),
        ("Starting BuildMaster -- 1\nBuildMaster is running\nStarting BuildMaster -- 2\n", False),
        ("Starting BuildMaster -- 1\nBuildMaster is running\n" + "gitpoller: processing changes\n" * 20_000, True),
        ("gitpoller: processing changes\n", True),  # the lines before were rotated away
    ],
    ids=["just started", "restarting", "long ago", "before the oldest line"],
)
def test_a_master_that_runs_for_a_long_time_counts_as_started(service: Service, log: str, started: bool) -> None:
    (service.state / "master").mkdir(parents=True)
    (service.state / "master" / "twistd.log").write_text(log)
    assert service._has_started() is started
