"""``kitten contents``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options
from workers.base.command import conclude
from workers.base.errors import CannotRun

if TYPE_CHECKING:
    from config.models import Site, Target
    from workers.results import Check


@click.command()
@click.option("--target", "target_name", metavar="NAME", required=True, help="One of targets.yaml.")
@click.option(
    "--repository", "repositories", metavar="NAME=FOLDER-OR-URL", multiple=True,
    help="Read this repository instead of the published one. Repeatable. NAME= is optional if a folder of the address "
    "has the name of the repository.",
)  # fmt: skip
@click.option(
    "--hardware", "hardware_list", metavar="LIST", type=click.Path(dir_okay=False, path_type=Path),
    help="Look for these devices in the kernels among PATHs instead.",
)  # fmt: skip
@options.site
@options.state
@options.json
@click.argument("paths", nargs=-1, metavar="[PATH …]", type=click.Path(path_type=Path))
def contents(
    target_name: str,
    repositories: tuple[str, ...],
    hardware_list: Path | None,
    site_name: str,
    state_folder: Path | None,
    json_file: Path | None,
    paths: tuple[Path, ...],
) -> None:
    """List the required packages or devices that are missing.

    Without PATHs: reads the index of each published repository of the target and looks for the packages that
    repositories.yaml requires there.

    With --hardware LIST: reads the modules of the kernel packages, .ko files and folders given as PATHs, and looks for
    the LIST's devices in their aliases. Modules of one release are one kernel, from however many packages.

    \b
    kitten contents --target x86_64
    kitten contents --target x86_64 --repository https://mirror.example/10-kitten/AppStream/x86_64/os
    kitten contents --target x86_64 --hardware config/kitten-10/hardware/pci.tsv kernel-*.rpm
    """  # noqa: D301 - click wants the character itself
    import time

    from workers.results import ContentsResult
    from workers.results import proof as report

    def work() -> ContentsResult:
        begun = time.monotonic()
        read: tuple[str, ...] = ()
        site, state = options.site_and_state(site_name, state_folder)
        target = options.named_target(site, target_name)
        if hardware_list is not None:
            if repositories or not paths:
                raise CannotRun("--hardware looks into PATHs, not into repositories", "give kernel packages or modules")
            checks = _hardware(hardware_list, paths)
        elif paths:
            raise CannotRun(f"{paths[0]}: PATHs are for --hardware", "give repositories as --repository NAME=FOLDER")
        else:
            read, checks = _required(site, target, state, repositories)
        findings = report.findings(checks)
        return ContentsResult(
            outcome="failed" if findings else "passed",
            summary=_summary(target, checks, "device list" if hardware_list else "required package"),
            seconds=round(time.monotonic() - begun, 3),
            cause=report.cause(findings[0]) if findings else "",
            target=target.name,
            repositories=read,
            checks=checks,
        )

    def show(result: ContentsResult) -> None:
        click.echo(report.text(result.checks))

    conclude(ContentsResult, json_file, work, known={"target": target_name}, show=show)


def _summary(target: Target, checks: Sequence[Check], what: str) -> str:
    passed = sum(check.outcome == "passed" for check in checks)
    failed = sum(check.outcome == "failed" for check in checks)
    findings = f"{failed} finding{'' if failed == 1 else 's'}"
    return f"{target.name}: {passed} {what}{'' if passed == 1 else 's'} passed, {findings}"


def _required(
    site: Site, target: Target, state: Path, given: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[Check, ...]]:
    from workers.repository.state import named_stage
    from workers.verify import contents as reader

    stage = named_stage(site, "")
    root = stage.url if "://" in stage.url else str((state / stage.url).absolute())
    places = [reader.parse_repository(site, one) for one in given] or list(reader.addresses(site, target, root).items())
    found, absent = [], {}
    for repository, address in places:
        click.echo(f"reading {repository}: {address}")
        packages = reader.read_repository(repository, address)
        if packages is None:
            absent[repository] = address
        else:
            found.append(packages)
    return tuple(one.address for one in found), reader.judge_required(site, target, found, absent)


def _hardware(hardware_list: Path, paths: Sequence[Path]) -> tuple[Check, ...]:
    import tempfile

    from config.hardware import read_list
    from workers.verify.hardware import Kernel, judge_hardware, kernels_of

    devices = read_list(hardware_list, str(hardware_list))
    with tempfile.TemporaryDirectory(prefix="kitten-contents-") as folder:
        kernels = kernels_of(_files(paths, Path(folder))) or {"": Kernel()}
    return tuple(check for release in sorted(kernels) for check in judge_hardware(devices, kernels[release], release))


def _files(paths: Sequence[Path], scratch: Path) -> list[tuple[str, Path]]:
    """Return the installed path and the content of each file among the paths, and in their packages and folders."""
    from workers.base.errors import MalformedError
    from workers.formats.rpm_header import read_header
    from workers.formats.rpm_payload import unpack

    files: list[tuple[str, Path]] = []
    for path in paths:
        if not path.exists():
            raise CannotRun(f"{path} does not exist", "give kernel packages, modules or folders of them")
        found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for number, file in enumerate(found, len(files)):
            if file.suffix != ".rpm":
                files.append((str(file), file))
                continue
            try:
                entries = unpack(file, read_header(file), scratch / str(number))
            except MalformedError as error:
                raise CannotRun(f"{file}: {error}", "fetch the package again") from None
            files += [(entry.path, entry.content) for entry in entries if entry.content]
    return files
