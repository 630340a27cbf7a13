"""``kitten lab-status`` shows guests, targets, saved guests and last runs, also while they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.loading import load_site
from workers.lab import status
from workers.lab.machine import leases


def test_guests_targets_saved_guests_and_last_runs_are_shown(
    tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))
    monkeypatch.setenv("KITTEN_LAB_MEMORY", "4096")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("aarch64-512-0123456789abcdef", ".s390x-512-0123456789abcdef.partial", "ppc64le-1024-half"):
        (tmp_path / "saved" / name).mkdir(parents=True)
    for name in ("memory", "state"):
        (tmp_path / "saved" / "aarch64-512-0123456789abcdef" / name).write_bytes(b"1")
    run = tmp_path / "state" / "lab" / "20260101-000000-s390x-1"
    run.mkdir(parents=True)
    (run / "test.json").write_text('{"summary": "s390x: cpu-level 16 passed"}')
    with leases.hold(512, 1, "qemu-system-s390x max: guest"):
        status.show(load_site("demo"), tmp_path / "state")
    output = capsys.readouterr().out
    assert "guests may use 4096 MiB" in output
    assert "qemu-system-s390x max: guest" in output
    assert "cortex-a57" in output
    assert "s390x: cpu-level 16 passed" in output
    assert output.count(" ago") == 1
