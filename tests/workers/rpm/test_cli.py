"""A mistake of the user's is one clear line, exit status 2, and a result file where one was asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from workers.results import BuildResult
from workers.run import Completed, run


def kitten(*arguments: str, state: Path) -> Completed:
    code = "import sys; from workers.cli import main; sys.argv[0] = 'kitten'; main()"
    environment = {**os.environ, "KITTEN_STATE": str(state), "KITTEN_SITE": "demo"}
    return run([sys.executable, "-c", code, *arguments], env=environment, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "vax", "--srpm", "a.src.rpm"], "unknown target 'vax'"),
        (["--target", "s390x"], "what to build is not clear"),
        (["--target", "s390x", "--srpm", "a.src.rpm", "--source", "b"], "what to build is not clear"),
        (["--target", "s390x", "--srpm", "/nowhere/a.src.rpm"], "there is no file /nowhere/a.src.rpm"),
        (["--target", "s390x", "--srpm", __file__], "is not an RPM"),
        (["--target", "s390x", "--source", "artifacts/sources/a/b"], "there is no source at"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = kitten("build", *arguments, "--json", str(tmp_path / "r.json"), state=tmp_path)
    assert done.status == 2
    assert done.output.startswith("kitten: ")
    assert said in done.output
    assert "Traceback" not in done.output
    assert BuildResult.read((tmp_path / "r.json").read_text()).outcome == "cannot-run"


def test_an_unknown_target_of_the_sandbox_is_named(tmp_path: Path) -> None:
    done = kitten("sandbox", "--base-rpm", "vax", state=tmp_path)
    assert (done.status, "unknown target 'vax'" in done.output) == (2, True)
