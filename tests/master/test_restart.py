"""``kitten up`` when a service already runs: it is restarted only if its configuration changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.loading import FOLDER, load_site
from master.service.service import Service
from tests.master.running import small_site

pytestmark = pytest.mark.service


def test_a_service_is_restarted_only_with_another_configuration(tmp_path: Path) -> None:
    folder = small_site(tmp_path / "site")
    (folder / "dist-git").symlink_to(FOLDER / "demo" / "dist-git")
    first = Service(load_site(str(folder)), str(folder), tmp_path / "state")
    printed: list[str] = []
    try:
        ports = first.start(printed.append)
        running = {process["name"]: process["pid"] for process in first.processes()}
        assert printed == []

        assert first.start(printed.append) == ports
        assert printed == [f"the service runs already: {ports.url}"]
        assert {process["name"]: process["pid"] for process in first.processes()} == running

        distribution = json.loads((folder / "site.yaml").read_text()) | {"title": "Another one"}
        (folder / "site.yaml").write_text(json.dumps(distribution))
        second = Service(load_site(str(folder)), str(folder), tmp_path / "state")
        assert second.start(printed.append) == ports, "addresses in open browsers stay valid"
        assert printed[1:] == ["the service runs with another configuration: it is restarted"]
        now = {process["name"]: process["pid"] for process in second.processes()}
        assert now.keys() == running.keys()
        assert not set(now.values()) & set(running.values())
    finally:
        first.stop(printed.append)
    assert first.processes() == []
