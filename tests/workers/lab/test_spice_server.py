"""Real SPICE servers: the suite passes for a correct one, and names what a wrong one does."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from config.loading import load_site
from tests.workers.lab import helpers
from workers.base.run import require
from workers.lab.guest import file_system, saved
from workers.lab.machine.launch import LaunchFailedError
from workers.lab.pictures import read_ppm
from workers.lab.spice import inside, pattern, server
from workers.lab.suites import Report, spice, spice_questions

pytestmark = pytest.mark.guest

SITE = load_site("demo")
TARGET = SITE.target("aarch64")  # the quickest to boot under emulation
DEVICE = "virtio-gpu-pci"
SECONDS = 300.0


def report_of(folder: Path) -> Report:
    return spice.run(helpers.request("spice", TARGET, folder))


def failures(report: Report) -> dict[str, str]:
    return {case.name.removeprefix(f"{DEVICE}: "): case.reason for case in report.cases if case.outcome == "failed"}


def test_a_correct_server_passes(tmp_path):
    report = report_of(tmp_path)
    assert failures(report) == {}
    assert len(report.cases) == 21
    assert all(case.outcome == "passed" for case in report.cases)
    assert report.extra["server"].startswith("QEMU ")
    shown = {name for case in report.cases for name in case.pictures}
    assert shown == {f"{DEVICE}{what}.png" for what in ("", "-before", "-tls", "-qemu")}
    assert all((tmp_path / "logs" / name).read_bytes().startswith(b"\x89PNG") for name in shown)
    # The number matters: the picture shows no pattern with another number.
    picture = read_ppm((tmp_path / "scratch" / "screendump.ppm").read_bytes())
    numbers = [number for number in (0, 0xFFFFFFFF) if not pattern.Pattern(number).problem(picture)]
    assert numbers == []


def test_a_server_without_a_ticket_and_a_wrong_pattern_are_named(tmp_path, monkeypatch):
    arguments, scripts = server.arguments, spice.guest_scripts

    def without_ticket(listen, files):
        words = arguments(listen, files)
        return tuple(word.replace("password-secret=ticket", "disable-ticketing=on") for word in words)

    monkeypatch.setattr(server, "arguments", without_ticket)
    monkeypatch.setattr(
        spice,
        "guest_scripts",
        lambda site, target, device, drawn, modules: scripts(
            site, target, device, pattern.Pattern(drawn.number ^ 1), modules
        ),
    )
    found = failures(report_of(tmp_path))
    assert found.pop("the server is up and requires a ticket").startswith("QEMU reports about its server: ")
    for name in ("a wrong password is refused", "an empty password is refused", "TLS: a wrong password is refused"):
        assert found.pop(name) == "the server did not refuse it"
    assert found.pop("a client with a wrong password gets no picture") == "the client got a picture"
    for way in ("", "TLS: "):
        reason = found.pop(f"{way}a client's picture shows the pattern")
        assert reason.startswith("square 32 of 32 is not ")
    assert found == {}


def test_a_qemu_without_spice_is_named(tmp_path, monkeypatch):
    # The SPICE server of Debian's QEMU is a module. Without its modules it is like a QEMU built without SPICE.
    modules = next(Path("/usr/lib").glob("*/qemu/ui-spice-core.so")).parent
    real = require(TARGET.machine.emulator, "qemu-system-arm")
    wrapper = tmp_path / "bin" / "qemu-without-spice"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec bwrap --dev-bind / / --tmpfs {modules} {real} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{Path(real).parent}:/usr/bin:/bin")
    machine = TARGET.machine.model_copy(update={"emulator": wrapper.name})
    monkeypatch.setattr(f"{__name__}.TARGET", TARGET.model_copy(update={"machine": machine}))
    report = report_of(tmp_path)
    assert [case.name for case in report.cases] == [f"{DEVICE}: a guest with a SPICE server comes up"]
    (reason,) = failures(report).values()
    assert reason.startswith("this QEMU has no SPICE: ")


def inside_a_guest(
    folder: Path, emulator: inside.Emulator, keys: server.Keys
) -> AbstractContextManager[server.RunningServer]:
    machine = TARGET.machine.variant("spice-virtio")
    return inside.start(
        file_system.base(TARGET), machine, emulator, keys, file_system.payload_archive(), folder, "inner"
    )


def test_a_server_inside_a_guest_answers(tmp_path, monkeypatch):
    # The inner guest takes minutes to boot if both guests are emulated. The server answers long before.
    ready, waited = saved.await_ready, []
    monkeypatch.setattr(saved, "await_ready", lambda *of: waited.append(of) or len(waited) > 1 or ready(*of))
    keys = server.Keys()
    with inside_a_guest(tmp_path, inside.debian_emulator(TARGET), keys) as running:
        subject = spice_questions.Subject(
            DEVICE, running.guest, running.server, keys, pattern.Pattern(1), SECONDS, tmp_path, tmp_path
        )
        questions = spice_questions.Questions(DEVICE)
        extra: dict[str, str] = {}
        spice_questions.ask_before_drawing(subject, questions, extra)
        spice_questions.ask_tickets(subject, questions)
        spice_questions.ask_tls(subject, questions)
    assert len(waited) == 2
    found = {case.name.removeprefix(f"{DEVICE}: ") for case in questions.cases if case.outcome == "failed"}
    assert found == {"TLS: a client's picture shows the pattern"}  # the guest does not draw yet
    assert len(questions.cases) == 11
    assert extra["server"].startswith("QEMU 10.")


def test_a_qemu_inside_a_guest_without_spice_is_named(tmp_path):
    whole = inside.debian_emulator(TARGET)
    files = {path: file for path, file in whole.files.items() if "ui-spice" not in path}
    assert len(files) < len(whole.files)
    with (
        pytest.raises(LaunchFailedError, match=r"^QEMU in the guest: ") as raised,
        inside_a_guest(tmp_path, inside.Emulator(whole.path, files), server.Keys()),
    ):
        pass
    assert spice.failure_reason(str(raised.value)).startswith("this QEMU has no SPICE: ")
