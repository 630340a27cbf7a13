"""Write the manual page kitten(1) from the help of the commands.

tools/man.py FILE
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from workers.cli import kitten

_ENVIRONMENT = {
    "KITTEN_SITE": "The site: the name of a folder in config/, or a path.",
    "KITTEN_STATE": "The state folder. Default: var/SITE in the checkout.",
    "KITTEN_CACHE": "The cache. Default: kitten-ci in $XDG_CACHE_HOME or ~/.cache.",
}
_EXIT_STATUS = {"0": "The work passed.", "1": "It failed.", "2": "It could not run; the message shows what to do."}


def roff(text: str) -> str:
    """Escape a text for roff: backslashes, hyphens and leading dots lose their special meaning."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines())


def page(version: str) -> str:
    """Return the whole page."""
    context = click.Context(kitten, info_name="kitten")
    lines = [f'.TH KITTEN 1 "" "kitten\\-ci {roff(version)}" "User Commands"', ".SH NAME"]
    lines += ["kitten \\- from a commit to a proven, signed package", ".SH SYNOPSIS", ".B kitten"]
    lines += [".I COMMAND", "[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]", ".SH DESCRIPTION", *_paragraphs(kitten.help or "")]
    lines += [".SH COMMANDS"]
    for name in kitten.list_commands(context):
        command = kitten.get_command(context, name)
        if command is not None:
            lines += _command(command, click.Context(command, info_name=f"kitten {name}"))
    lines += [".SH EXIT STATUS", *_terms(_EXIT_STATUS), ".SH ENVIRONMENT", *_terms(_ENVIRONMENT)]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the lines of a command, then of its subcommands: ``kitten bucket verify``."""
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".SS {roff(f'{context.info_name} {usage}')}"
    yield from _paragraphs(command.help or "")
    records = (
        parameter.get_help_record(context) for parameter in command.params
    )  # without --help, which every command has
    yield from _terms(dict(record for record in records if record is not None))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            if subcommand is not None:
                yield from _command(subcommand, click.Context(subcommand, info_name=f"{context.info_name} {name}"))


def _paragraphs(text: str) -> Iterator[str]:
    r"""Yield the paragraphs of a help text; those after ``\b`` and indented ones keep their lines, as in click."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith(("\b", " ")):
            yield from (".PP", ".nf", roff(paragraph.removeprefix("\b").strip("\n")), ".fi")
        else:
            yield from (".PP", roff(" ".join(paragraph.split())))


def _terms(terms: dict[str, str]) -> Iterator[str]:
    for term, meaning in terms.items():
        yield from (".TP", f"\\fB{roff(term)}\\fR", roff(meaning))


def main() -> None:
    """Write the page to the file on the command line."""
    from importlib.metadata import version

    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(version("kitten-ci")), encoding="utf-8")


if __name__ == "__main__":
    main()
