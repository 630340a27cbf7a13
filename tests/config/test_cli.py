"""kitten check-config and kitten schema: output and exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from config.cli import check_config, schema
from config.loading import FOLDER, SECTIONS


def kitten(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "workers.cli", *words], capture_output=True, text=True, check=False)


def test_both_sites_of_the_checkout_are_valid() -> None:
    result = CliRunner().invoke(check_config)
    assert result.exit_code == 0, result.output
    assert "kitten-10: ok" in result.output
    assert "demo: ok" in result.output
    assert "  targets       x86_64, x86_64_v2, aarch64, ppc64le, s390x\n" in result.output
    assert "(not published: devel)" in result.output
    assert "  stages        staged → testing → kitten\n" in result.output


def test_problems_are_printed_and_the_status_is_2(folder: Path) -> None:
    (folder / "demo/web.yaml").write_text("title: 5\n")
    done = kitten("check-config", str(folder / "kitten-10"), str(folder / "demo"))
    assert done.returncode == 2
    assert f"{folder}/kitten-10: ok" in done.stdout
    assert f"  {folder}/demo/web.yaml:1: title: found 5, allowed: text" in done.stdout
    assert done.stderr == f"check-config: 4 problems in {folder}/demo\n"


def test_an_unknown_site_is_one_line_without_a_traceback() -> None:
    done = kitten("check-config", "demmo")
    assert done.returncode == 2
    assert done.stdout.splitlines()[1] == (
        "  config/demmo: found no such folder, allowed: demo? (all: demo, kitten-10), or a path with a / in it"
    )
    assert "Traceback" not in done.stdout + done.stderr


def test_the_schema_of_a_section_describes_its_file() -> None:
    result = CliRunner().invoke(schema, ["targets"])
    content = json.loads(result.output)
    assert content["title"] == "targets.yaml"
    assert content["type"] == "array"
    target = content["$defs"]["Target"]
    assert target["additionalProperties"] is False
    for entry in yaml.safe_load((FOLDER / "kitten-10/targets.yaml").read_text()):
        assert entry.keys() <= target["properties"].keys()
        assert set(target["required"]) <= entry.keys()


def test_without_a_section_all_schemas_are_printed() -> None:
    content = json.loads(CliRunner().invoke(schema).output)
    assert set(content) == {file.removesuffix(".yaml") for file in SECTIONS.values()} | {"package"}


def test_schemas_are_written_into_a_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(schema, ["--out", str(tmp_path / "new")])
    assert result.exit_code == 0
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert len(written) == len(SECTIONS) + 1
    assert "web.schema.json" in written
    assert json.loads((tmp_path / "new/web.schema.json").read_text())["properties"]["roles"]


def test_an_unknown_section_is_an_error_with_the_known_ones() -> None:
    done = kitten("schema", "taggets")
    assert done.returncode == 2
    assert "unknown section 'taggets'; there are: site, build, targets" in done.stderr


def test_a_schema_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = kitten("schema", "--out", str(tmp_path / "file/new"))
    assert done.returncode == 2
    assert done.stderr == f"schema: cannot write to {tmp_path}/file/new: Not a directory\n"


def test_every_command_prints_the_problems_of_a_broken_site(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from config.loading import load_site
    from workers import cli

    monkeypatch.setattr(cli.kitten, "main", lambda **_: load_site("demmo"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("config/demmo: found no such folder, allowed: demo?")
