"""Every command with ``--json`` leaves a result file, however it ends; the exit status and the file agree."""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from pathlib import Path

import click
import pytest
from pydantic import ConfigDict

from workers import cli
from workers.base.errors import CannotRun, CheckFailed
from workers.results import Result


def commands() -> dict[str, click.Command]:
    """The commands that take ``--json FILE``, by name."""
    loaded = {e.name: e.load() for e in distribution("kitten-ci").entry_points if e.group == "kitten.commands"}
    return {
        name: command
        for name, command in loaded.items()
        if any(parameter.name == "json_file" for parameter in command.params)
    }


COMMANDS = commands()


def words_for(command: click.Command) -> list[str]:
    """A value for each required option."""
    needed = [parameter for parameter in command.params if parameter.required and isinstance(parameter, click.Option)]
    return [word for option in needed for word in (option.opts[0], "x")]


def run(name: str, json_file: Path, monkeypatch: pytest.MonkeyPatch, site: str) -> int:
    """Run a command as the script does and return its exit status."""
    words = ["kitten", name, *words_for(COMMANDS[name]), "--site", site, "--json", str(json_file)]
    if name == "build":
        words += ["--source", "x"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


class AnyResult(Result):
    """The fields that all result files have."""

    model_config = ConfigDict(extra="ignore")


def test_all_commands_that_steps_run_are_tested() -> None:
    assert set(COMMANDS) >= {"source", "build", "verify", "test", "stage", "publish", "promote", "clean", "compose"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_cannot_run_exits_2_with_a_result_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    json_file = tmp_path / "new folder/result.json"
    assert run(name, json_file, monkeypatch, str(tmp_path / "no-such-site")) == 2
    result = AnyResult.read(json_file.read_text())
    assert (result.command, result.outcome) == (name, "cannot-run")
    assert "no-such-site" in result.summary
    printed = capsys.readouterr().err
    assert result.summary in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("error", "status", "outcome", "cause"),
    [
        (CheckFailed("the work\x1b[2J is wrong:\nin two places"), 1, "failed", "the work\x1b[2J is wrong"),
        (CannotRun("no network", "plug it in"), 2, "cannot-run", "no network"),
        (OSError(28, "No space left on device", "/x"), 2, "cannot-run", "no space left on the device for /x"),
        (ZeroDivisionError("division by zero"), 2, "cannot-run", "internal error: ZeroDivisionError: division by zero"),
        (OSError("a surprise"), 2, "cannot-run", "internal error: OSError: a surprise"),
    ],
    ids=["failed", "cannot-run", "full disk", "bug", "system"],
)
@pytest.mark.parametrize("name", COMMANDS)
def test_each_error_of_a_command_is_in_its_result_file(
    name: str,
    error: Exception,
    status: int,
    outcome: str,
    cause: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(_: str) -> None:
        raise error

    monkeypatch.setattr("config.loading.load_site", broken)
    assert run(name, tmp_path / "result.json", monkeypatch, "demo") == status
    result = AnyResult.read((tmp_path / "result.json").read_text())
    assert (result.command, result.outcome, result.summary) == (name, outcome, cause)
    printed = capsys.readouterr().err
    assert "\x1b" not in printed
    unexpected = cause.startswith("internal error")
    assert ("Traceback" in printed) == unexpected
    if unexpected:  # the step shows the line that begins with the program's name
        assert f"kitten: {cause}" in printed.splitlines()


def test_a_result_file_that_cannot_be_written_is_reported_and_hides_no_other_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run("stage", tmp_path / "file/result.json", monkeypatch, str(tmp_path / "no-such-site")) == 2
    printed = capsys.readouterr().err
    assert "cannot write the result file" in printed
    assert "no-such-site" in printed
