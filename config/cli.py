"""``kitten check-config`` and ``kitten schema``."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from config.models import Site


class _Found(click.ClickException):
    """Ends a command with status 2 after it printed problems; the last line says how many."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:  # noqa: ARG002 - click's signature
        click.echo(self.message, err=True)


@click.command("check-config")
@click.argument("sites", metavar="[SITE|FOLDER]...", nargs=-1)
def check_config(sites: tuple[str, ...]) -> None:
    """Check the configuration of sites; print every error with file and line.

    SITE is the name of a folder below config/ (default: all of them). FOLDER is a path with a / in it. Exit
    status: 0 all sites are valid, 2 a site has errors.
    """
    from config.loading import known_sites, load_site
    from config.problems import ConfigError

    problems = 0
    wrong = []
    for site in sites or known_sites():
        try:
            loaded = load_site(site)
        except ConfigError as error:
            wrong.append(site)
            problems += len(error.problems)
            click.echo(f"{site}: problems")
            for problem in error.problems:
                click.echo(f"  {problem}")
        else:
            click.echo(f"{site}: ok\n{_table(loaded)}")
    if wrong:
        raise _Found(f"check-config: {problems} problem{'s' if problems != 1 else ''} in {', '.join(wrong)}")


def _table(site: Site) -> str:
    """Return a summary of a site: one line for each kind of entry."""
    unknown = sum(not package.binaries for package in site.packages)
    modified = sum(package.modification is not None for package in site.packages)
    notes = [f"{modified} modified"] * bool(modified) + [f"{unknown} with binary packages not recorded"] * bool(unknown)
    unpublished = [r.name for r in site.repositories.repositories if not r.published]
    workers = sum(len(pool.workers) for pool in site.workers)
    lab = ", lab" if any(site.suites_without_package(target) for target in site.targets) else ""
    rows = {
        "targets": ", ".join(target.name for target in site.targets),
        "repositories": f"{', '.join(r.name for r in site.repositories.repositories)}"
        + (f" (not published: {', '.join(unpublished)})" if unpublished else ""),
        "stages": " → ".join(stage.name for stage in site.stages),
        "suites": ", ".join(suite.name for suite in site.suites),
        "packages": f"{len(site.packages)}" + (f" ({', '.join(notes)})" if notes else ""),
        "workers": f"{workers} in {len(site.workers)} pools",
        "schedules": ", ".join(f"{s.name} at {s.hour:02}:{s.minute:02} UTC" for s in site.schedules) or "none",
        "builders": f"source, one for each of {len(site.targets)} targets, promote{lab}; backend {site.build.backend}",
    }
    return "\n".join(f"  {name:<13} {text}" for name, text in rows.items())


@click.command("schema")
@click.argument("section", required=False)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write SECTION.schema.json for each section into this folder; print the paths.",
)
@click.option(
    "--markdown", is_flag=True, help="Print the tables of docs/reference/configuration.md: the keys of every file."
)
def schema(section: str | None, out: Path | None, markdown: bool) -> None:
    """Print the JSON Schema of a configuration file, for editors.

    SECTION is the name of the file without .yaml: targets, web …, or package for a file in packages/. Without
    SECTION: all schemas, as one JSON object.
    """
    import json

    from config.schema import reference, schemas

    if markdown:
        click.echo(reference())
        return
    known = schemas()
    if section is not None and section not in known:
        raise click.UsageError(f"unknown section {section!r}; there are: {', '.join(known)}")
    chosen = known if section is None else {section: known[section]}
    if out is None:
        click.echo(json.dumps(known if section is None else known[section], indent=2, ensure_ascii=False))
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in chosen.items():
            file = out / f"{name}.schema.json"
            temporary = file.with_suffix(".partial")
            temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            temporary.replace(file)
            click.echo(file)
    except OSError as error:
        raise _Found(f"schema: cannot write to {out}: {error.strerror or error}") from None
