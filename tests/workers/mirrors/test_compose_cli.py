"""``kitten compose``: its output, its result file and its errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun
from workers.promotion.publish import publish
from workers.results import ComposeResult

pytestmark = pytest.mark.slow


def test_the_command_makes_a_compose(site_path: Path, stage: Path) -> None:
    from click.testing import CliRunner

    from workers.mirrors.compose_cli import compose as command

    def run(*words: str) -> str:
        done = CliRunner().invoke(command, ["--site", str(site_path), "--state", str(stage.parent), *words])
        assert done.exit_code == 0, done.output
        return done.output

    assert run().startswith("compose kitten-10-")
    assert run().startswith("nothing is new: mirrors see compose kitten-10-")
    assert run("--if-due") == "no compose is due: the newest is younger than 60 min\n"
    assert (stage / "mirror/10-kitten/metadata/CHECKSUM.asc").is_file()


def test_if_no_compose_is_due_the_command_passes_and_needs_no_key(
    site_path: Path, site: Site, state: Path, make_build: BuildFactory
) -> None:
    from click.testing import CliRunner

    from workers.mirrors.compose_cli import compose as command

    result = state / "result.json"

    def run(*words: str) -> ComposeResult:
        where = ["--site", str(site_path), "--state", str(state), "--json", str(result)]
        done = CliRunner().invoke(command, [*where, *words])
        written = ComposeResult.read(result.read_text())
        assert (done.exit_code, done.output) == (0, f"{written.summary}\n")
        return written

    assert run("--if-due").summary == "no compose is due: nothing is published yet"
    publish(site, state, "aarch64", str(make_build()))
    first = run("--if-due", "--stage", "kitten")
    assert (first.new, first.stage, first.snapshot, first.collected) == (True, "kitten", 1, ())
    assert first.url == str(state / "published" / "composes" / first.id)
    assert Path(first.url, "compose.json").is_file()
    shutil.rmtree(state / "secrets")  # a missing key would be made again there
    again = run()
    assert (again.new, again.id) == (False, first.id)
    assert again.summary.startswith("nothing is new: mirrors see compose kitten-10-")
    assert not (state / "secrets").exists()
    waits = run("--if-due")
    assert (waits.new, waits.id) == (False, "")
    assert waits.summary == "no compose is due: the newest is younger than 60 min"


def test_an_error_is_in_the_result_file_too(site_path: Path, state: Path) -> None:
    from click.testing import CliRunner

    from workers.mirrors.compose_cli import compose as command

    words = ["--site", str(site_path), "--state", str(state), "--json", str(state / "result.json")]
    done = CliRunner().invoke(command, words)
    assert isinstance(done.exception, CannotRun)
    written = ComposeResult.read((state / "result.json").read_text())
    assert (written.outcome, written.cause) == ("cannot-run", "nothing is published yet")


def test_a_stage_without_composes_is_refused(site_path: Path, stage: Path) -> None:
    from click.testing import CliRunner

    from workers.mirrors.compose_cli import compose as command

    done = CliRunner().invoke(command, ["--site", str(site_path), "--state", str(stage.parent), "--stage", "staged"])
    assert isinstance(done.exception, CannotRun)
    assert done.exception.what == "stage staged is not a signed one"
