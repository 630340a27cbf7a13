"""docs/reference/configuration.md names every key, and all YAML files pass yamllint."""

from __future__ import annotations

import re

import pytest
from yamllint import linter
from yamllint.config import YamlLintConfig

from config.loading import FOLDER, NOT_INHERITED, OPTIONAL, SECTIONS
from config.models import Site, SourcePackage
from config.schema import reference, sections

ROOT = FOLDER.parent
PAGE = ROOT / "docs/reference/configuration.md"


def test_keys_on_the_page_are_those_of_the_models() -> None:
    page = re.search(r"<!-- keys: begin [^\n]*-->\n(.*)<!-- keys: end -->", PAGE.read_text(), re.DOTALL)
    assert page, "the page has no markers"
    assert page[1].strip() == reference().strip(), "put the output of `kitten schema --markdown` between the markers"


def test_reference_has_every_key_of_every_section() -> None:
    tables = dict(
        re.findall(r"^### (?:packages/)?(\w+)\.yaml\n(.*?)(?=^### |\Z)", reference(), re.MULTILINE | re.DOTALL)
    )
    assert tables.keys() == {"NAME" if name == "package" else name for name in sections()}
    assert {f"`{key}`" for key in SourcePackage.model_fields} <= set(
        re.findall(r"^\| (`\w+`)", tables["NAME"], re.MULTILINE)
    )
    target = re.findall(r"^\| `([\w.\[\]]+)`", tables["targets"], re.MULTILINE)
    assert {"name", "flags.isa", "machine.cpu_below", "toolchain.user_emulator"} <= set(target)
    assert "roles[].may" in tables["web"]


def test_every_key_has_a_description() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_page_lists_every_file_and_which_may_be_missing() -> None:
    files = dict(lines := re.findall(r"^  (\S+\.yaml) +(\S.*)$", PAGE.read_text(), re.MULTILINE))
    assert len(files) == len(lines)
    assert set(files) == {*SECTIONS.values(), "packages/NAME.yaml"}
    assert set(SECTIONS) | {"packages"} == set(Site.model_fields)
    optional = {SECTIONS[section] for section in OPTIONAL | NOT_INHERITED}
    assert {file for file, words in files.items() if words.endswith("may be missing")} == optional


def test_yaml_files_pass_yamllint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # the configuration names .gitignore
    rules = YamlLintConfig(file=".yamllint.yaml")
    files = [*FOLDER.rglob("*.yaml"), *(ROOT / "tests").rglob("*.yaml")]
    assert len(files) > 100
    found = [f"{file}:{p.line}: {p.desc}" for file in files for p in linter.run(file.read_text(), rules, str(file))]
    assert found == []
