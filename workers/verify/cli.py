"""``kitten verify``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.artifacts import subject
from workers.base import options
from workers.base.command import conclude

if TYPE_CHECKING:
    from workers.results import VerifyResult


@click.command()
@click.option(
    "--debuginfo", metavar="PATH", multiple=True, type=click.Path(path_type=Path),
    help="Debuginfo package or .debug file of the PATHs, or a folder of them. Repeatable.",
)  # fmt: skip
@click.option(
    "--exceptions", "exceptions_file", metavar="FILE", type=click.Path(path_type=Path),
    help="A package's YAML file with exemptions, or a list of exemptions.  [default: those of the site's packages]",
)  # fmt: skip
@click.option(
    "--against", metavar="PATH", multiple=True, type=click.Path(path_type=Path),
    help="Package of an earlier build to compare with.  [default with --build: the published packages]",
)  # fmt: skip
@click.option("--html", "html_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report for people to this file: which function breaks which rule, with the code around it.",
)  # fmt: skip
@click.option("--jobs", metavar="N", type=click.IntRange(min=1), help="Processes to use.  [default: one a core]")
@click.option("--fresh", is_flag=True, help="Read every file again; do not use cached facts.")
@subject.options
def verify(
    debuginfo: tuple[Path, ...],
    exceptions_file: Path | None,
    against: tuple[Path, ...],
    html_file: Path | None,
    jobs: int | None,
    fresh: bool,
    target_name: str,
    build_url: str | None,
    site_name: str,
    state_folder: Path | None,
    json_file: Path | None,
    paths: tuple[Path, ...],
) -> None:
    r"""Prove frame pointers and the instruction set level of every file.

    PATHs are RPMs, ELF or EFI files, or folders of them. Add the debuginfo packages, as PATHs or with --debuginfo: they
    record the compiler's flags. With --build, the packages of a build are proven, and the result is stored in its
    folder as verify.json.

    Exit status: 0 everything is proven, 1 a rule failed or could not be proven, 2 the command could not run.

    \b
    kitten verify --target x86_64_v2 RPMS/*.rpm
    kitten verify --target x86_64 /usr/bin/zstd --html report.html
    """
    from workers.results import VerifyResult

    chosen = _Options(debuginfo, exceptions_file, against, jobs, fresh)

    def work() -> VerifyResult:
        return _verify(chosen, target_name, build_url, site_name, state_folder, paths)

    def show(result: VerifyResult) -> None:
        if html_file:
            from workers.results.proof_html import page

            html_file.write_text(page(result), encoding="utf-8", errors="replace")

    conclude(VerifyResult, json_file, work, known={"target": target_name}, show=show)


@dataclass(frozen=True)
class _Options:
    """The options that only this command has."""

    debuginfo: tuple[Path, ...]
    exceptions_file: Path | None
    against: tuple[Path, ...]
    jobs: int | None
    fresh: bool


def _verify(
    chosen: _Options,
    target_name: str,
    build_url: str | None,
    site_name: str,
    state_folder: Path | None,
    paths: tuple[Path, ...],
) -> VerifyResult:
    import tempfile

    from config.loading import load_exemptions
    from workers.results import proof as report
    from workers.verify import known_answers
    from workers.verify.evidence import files_in
    from workers.verify.parallel import cores
    from workers.verify.prove import Request, prove

    site, state = options.site_and_state(site_name, state_folder)
    target = options.named_target(site, target_name)
    known_answers.check()
    exemptions = load_exemptions(chosen.exceptions_file) if chosen.exceptions_file else ()
    request = Request(
        site,
        site_name,
        target,
        state,
        debuginfo=chosen.debuginfo,
        exemptions=exemptions,
        against=chosen.against,
        jobs=chosen.jobs or cores(),
        fresh=chosen.fresh,
    )
    with tempfile.TemporaryDirectory(prefix="kitten-verify-") as folder:
        scratch = Path(folder)
        about = subject.subject(target, state, paths, build_url, scratch / "packages", find=files_in)
        result = prove(request, about, scratch, click.echo)
        click.echo(report.text(result.checks))
        if about.build:
            document = scratch / "verify.json"
            result.write(document)
            about.keep("verify.json", document)
    return result
