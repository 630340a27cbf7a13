"""The documentation: its links and headings, its glossary, its commands, and its words."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from tests.end_to_end import tutorial

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parent.parent
DOCS = CHECKOUT / "docs"
REFERENCE = DOCS / "reference"
OUTSIDE = sorted(CHECKOUT.glob("*.md"))
# The first of each list; the phrase is one without regular expressions between its words.
AVOIDED_WORD = (CHECKOUT / "tools/words.txt").read_text().partition("->")[0]
TYPING_ERROR = "reci" + "eves"
AVOIDED_PHRASE = re.findall(r"^\\b([a-z ]+)\\b -> ", (CHECKOUT / "tools/phrases.txt").read_text(), re.MULTILINE)[0]


def site(config: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).parent / "mkdocs", "build", "--strict", "-f", config, "-d", out]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_site_is_complete_and_its_links_work(tmp_path):
    done = site(CHECKOUT / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/tutorial/first-package/index.html").is_file()


def test_broken_links_fail_the_site(tmp_path):
    settings = (CHECKOUT / "mkdocs.yml").read_text().partition("nav:\n")[0]
    (tmp_path / "mkdocs.yml").write_text(settings)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/other.md").write_text("# Other\n\n[good](index.md#home)\n")
    (tmp_path / "docs/index.md").write_text("# Home\n\n[a](missing.md) [b](other.md#no-heading) [c](../setup.cfg)\n")
    done = site(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "missing.md" in done.stderr
    assert "no-heading" in done.stderr
    assert "setup.cfg" in done.stderr
    assert "index.md#home" not in done.stderr


def headings(page: str) -> set[str]:
    """Return the anchors of a page, as forges and mkdocs make them."""
    lines = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda path: path.name)
def test_links_of_the_pages_outside_docs_work(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = CHECKOUT / path if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in headings(file.read_text()), f"{page.name}: {target}"


def test_the_glossary_defines_each_term_once_in_order():
    terms = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", (REFERENCE / "glossary.md").read_text(), re.MULTILINE)
    assert terms.pop(0) == "term"
    assert terms == sorted(set(terms))


def test_each_term_of_the_glossary_is_used():
    glossary = REFERENCE / "glossary.md"
    terms = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", glossary.read_text(), re.MULTILINE)[1:]
    pages = [path for path in DOCS.rglob("*.md") if path != glossary]
    code = [path for top in ("config", "workers", "steps", "master") for path in (CHECKOUT / top).rglob("*.py")]
    text = "\n".join(path.read_text() for path in (*pages, *code))
    assert [term for term in terms if not re.search(rf"\b{term}", text, re.IGNORECASE)] == []


def test_the_page_of_commands_has_every_command_and_no_option_that_kitten_lacks():
    rows = [line.split(" | ")[0] for line in (REFERENCE / "commands.md").read_text().splitlines()]
    text = "\n".join(row for row in rows if row.startswith("| `kitten "))
    commands = {entry.name: entry.load() for entry in entry_points(group="kitten.commands")}
    named = set()
    for name, words in re.findall(r"`kitten ([\w-]+)([^`]*)`", text):
        command = commands[name]
        named.add(name)
        if isinstance(command, click.Group):
            subcommand, _, words = words.strip().partition(" ")
            command = command.commands[subcommand]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"--[\w-]+", words)) <= known, name
    assert named == commands.keys()


def test_the_tutorial_has_commands_from_the_demo_to_its_end():
    lines = tutorial.commands(tutorial.PAGE.read_text())
    assert (lines[0], lines[-1]) == ("make demo", "make stop")
    assert any(line.startswith("kitten try") for line in lines)


def test_the_manual_page_has_every_command(tmp_path):
    subprocess.run([sys.executable, CHECKOUT / "tools/man.py", tmp_path / "kitten.1"], check=True)
    page = (tmp_path / "kitten.1").read_text().replace("\\-", "-")
    assert page.startswith(".TH KITTEN 1")
    assert {entry.name for entry in entry_points(group="kitten.commands")} <= set(
        re.findall(r"^\.SS kitten ([\w-]+)", page, re.MULTILINE)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"The key is {AVOIDED_WORD} in a folder.", f"{AVOIDED_WORD} ==> "),
        (f"The masterr is {AVOIDED_WORD}.", f"{AVOIDED_WORD} ==> "),
        (f"It {TYPING_ERROR} a package.", f"{TYPING_ERROR} ==> receives"),
        (f"The function _{AVOIDED_WORD} returns it.", f"{AVOIDED_WORD} ==> "),
        ("Retry: " + AVOIDED_PHRASE.replace(" ", "\n"), f"{AVOIDED_PHRASE} ==> "),
    ],
)
def test_an_avoided_word_fails_the_check_of_prose(text, found, tmp_path):
    """In a separate checkout, with the settings of this one."""
    (tmp_path / "tools").mkdir()
    for name in ("tools/prose.py", "tools/words.txt", "tools/phrases.txt", "pyproject.toml"):
        (tmp_path / name).write_text((CHECKOUT / name).read_text())
    subprocess.run(["git", "init", "-q", tmp_path], check=True)

    def prose() -> subprocess.CompletedProcess[str]:
        script = [sys.executable, tmp_path / "tools/prose.py"]
        return subprocess.run(script, capture_output=True, text=True, check=False)

    (tmp_path / "page.md").write_text("The key is in a folder.\n")
    assert (prose().returncode, prose().stdout) == (0, "")
    for name in ("page.md", "module.py"):
        (tmp_path / name).write_text(text)
        done = prose()
        (tmp_path / name).unlink()
        assert done.returncode == 1
        assert found in done.stdout
