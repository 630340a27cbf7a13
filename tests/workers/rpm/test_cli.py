"""A mistake of the user gives one clear line, exit status 2, and a result file if ``--json`` names one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from workers.base.run import Completed, run
from workers.results import BuildResult, SandboxResult


def kitten(*arguments: str, state: Path) -> Completed:
    code = "import sys; from workers.cli import main; sys.argv[0] = 'kitten'; main()"
    environment = {**os.environ, "KITTEN_STATE": str(state), "KITTEN_SITE": "demo"}
    return run([sys.executable, "-c", code, *arguments], env=environment, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "vax", "--srpm", "a.src.rpm"], "unknown target 'vax'"),
        (["--target", "s390x"], "give either --source or --srpm"),
        (["--target", "s390x", "--srpm", "a.src.rpm", "--source", "b"], "give either --source or --srpm"),
        (["--target", "s390x", "--srpm", "/nowhere/a.src.rpm"], "there is no file /nowhere/a.src.rpm"),
        (
            ["--target", "s390x", "--srpm", __file__],
            "is not a readable RPM package: it does not begin with an RPM lead",
        ),
        (["--target", "s390x", "--source", "artifacts/sources/a/b"], "there is no source at"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = kitten("build", *arguments, "--json", str(tmp_path / "r.json"), state=tmp_path)
    assert done.status == 2
    assert done.output.startswith("kitten: ")
    assert message in done.output
    assert "Traceback" not in done.output
    assert BuildResult.read((tmp_path / "r.json").read_text()).outcome == "cannot-run"


def test_an_unknown_target_of_the_sandbox_is_named(tmp_path: Path) -> None:
    for option in ("--base-rpm", "--shell", "--target"):
        done = kitten("sandbox", option, "vax", state=tmp_path)
        assert (done.status, "unknown target 'vax'" in done.output) == (2, True)


def test_options_that_show_one_sandbox_cannot_be_combined(tmp_path: Path) -> None:
    for more in (["--target", "aarch64"], ["--json", str(tmp_path / "r.json")], ["--base-rpm", "s390x"]):
        done = kitten("sandbox", "--shell", "s390x", *more, state=tmp_path)
        assert (done.status, "cannot be combined" in done.output) == (2, True)


@pytest.mark.slow
def test_a_missing_base_is_reported_in_one_line_and_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KITTEN_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")  # discard: nobody listens
    done = kitten("sandbox", "--json", str(tmp_path / "r.json"), state=tmp_path)
    result = SandboxResult.read((tmp_path / "r.json").read_text())
    assert (done.status, result.outcome, result.targets) == (2, "cannot-run", ())
    assert f"kitten: {result.cause}\n  → check the network and the mirror" in done.output
    assert "Traceback" not in done.output
    assert not list((tmp_path / "cache/trees").glob("*.partial"))
