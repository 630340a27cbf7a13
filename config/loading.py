"""YAML folders → ``Site``. Every problem of every file is reported at once, each with file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from config import hardware, model_errors, positions
from config.checks import check
from config.hardware import PciDevice
from config.models import Exemption, Site, SourcePackage
from config.positions import Document
from config.problems import ConfigError, Problem, one_of, show

FOLDER = Path(__file__).parent
SECTIONS = {
    "distribution": "site.yaml",
    "build": "build.yaml",
    "targets": "targets.yaml",
    "repositories": "repositories.yaml",
    "groups": "groups.yaml",
    "stages": "stages.yaml",
    "suites": "suites.yaml",
    "schedules": "schedules.yaml",
    "workers": "workers.yaml",
    "sources": "sources.yaml",
    "web": "web.yaml",
    "retention": "retention.yaml",
    "signing": "signing.yaml",
}
OPTIONAL = frozenset({"retention"})
"""Sections whose file may be absent: every key of theirs has a default."""
NOT_INHERITED = frozenset({"groups", "signing"})
"""Sections that a folder may lack and never takes from the one it extends: groups speak of packages, which are not taken
either, and a distribution signs with no key but its own."""


def site_folder(name_or_path: str) -> Path:
    """The folder of a site given by its name (below config/) or by a path."""
    return Path(name_or_path) if "/" in name_or_path else FOLDER / name_or_path


def known_sites() -> tuple[str, ...]:
    """The names of the sites below config/, sorted."""
    return tuple(sorted(site.parent.name for site in FOLDER.glob("*/site.yaml")))


def load_site(name_or_path: str) -> Site:
    """Read a distribution's folder. A section file it lacks is taken from the one it ``extends``; packages and key are not.

    :raises ConfigError: with every problem of every file.
    """
    folder = site_folder(name_or_path)
    if not folder.is_dir():
        allowed = f"{one_of(known_sites(), name_or_path)}, or a path with a / in it"
        raise ConfigError([Problem(_label(folder), 0, "", "no such folder", allowed)])
    problems: list[Problem] = []
    sections = _read_sections(folder, problems)
    packages = _read_packages(folder, problems)
    problems += check(sections, packages)
    problems += _hardware_lists(folder, packages)
    data = {section: document.data for section, document in sections.items()}
    try:
        site = Site.model_validate(data | {"packages": [package.data for package in packages]})
    except ValidationError as error:
        told = {(problem.file, problem.key) for problem in problems}
        refused = model_errors.problems_of(error, sections, packages)
        problems += (problem for problem in refused if (problem.file, problem.key) not in told)
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return site


def hardware_list(name_or_path: str, file: str) -> tuple[PciDevice, ...]:
    """The devices of a list that a package of a site names (``SourcePackage.hardware``).

    :raises ConfigError: when it cannot be read, or is wrong.
    """
    path = site_folder(name_or_path) / file
    return hardware.read_list(path, _label(path))


def _hardware_lists(folder: Path, packages: Iterable[Document]) -> Iterator[Problem]:
    """What is wrong with the lists that packages name; each list once."""
    seen: set[str] = set()
    for package in packages:
        for place, item in package.mappings("hardware"):
            file = item.get("list")
            if not isinstance(file, str) or not re.fullmatch(hardware.FILE, file) or file in seen:
                continue  # what is no lawful name, the model refuses
            seen.add(file)
            if not (path := folder / file).is_file():
                beside = (f"hardware/{p.name}" for p in (folder / "hardware").glob("*.tsv"))
                yield package.problem((*place, "list"), f"{show(file)}, which is not there", one_of(beside, file))
                continue
            try:
                hardware.read_list(path, _label(path))
            except ConfigError as error:
                yield from error.problems


def _label(path: Path) -> str:
    """How problems call a file: as seen from the checkout where it lies there, else as it was given."""
    resolved = path.resolve()
    return str(resolved.relative_to(FOLDER.parent) if resolved.is_relative_to(FOLDER.parent) else path)


def _read(path: Path, section: str, problems: list[Problem]) -> Document:
    document, wrong = positions.read(path, _label(path), section)
    problems += wrong
    return document


def _read_sections(folder: Path, problems: list[Problem]) -> dict[str, Document]:
    """The documents of a site's sections: its own, then those of the folders it extends."""
    folders, whole = _folders(folder, problems)
    sections: dict[str, Document] = {}
    for section, file in SECTIONS.items():
        # A dangling link is an unreadable file of this folder, not a reason to take another's.
        places = folders[:1] if section in NOT_INHERITED else folders
        found = next((f / file for f in places if (f / file).is_symlink() or (f / file).exists()), None)
        if found is None and (section in NOT_INHERITED | OPTIONAL or not whole):
            continue
        if found is None:
            allowed = f"{file} here, or in the folder this one extends"
            problems.append(Problem(_label(folder / file), 0, "", "no such file", allowed))
            continue
        document = _read(found, section, problems)
        if document.data is not None:
            sections[section] = document
    strays = {*folder.glob("[!.]*.yaml"), *folder.glob("[!.]*.yml")} - {folder / file for file in SECTIONS.values()}
    files = SECTIONS.values()
    problems += (Problem(_label(stray), 0, "", "a file of no section", one_of(files, stray.name)) for stray in strays)
    return sections


def _folders(folder: Path, problems: list[Problem]) -> tuple[list[Path], bool]:
    """The folder and those it extends, the nearest first; and whether these are all."""
    folders = [folder]
    while True:
        site = folders[-1] / "site.yaml"
        if not site.is_file():
            return folders, True
        # What is wrong with its text is reported where the section is read.
        document, wrong = positions.read(site, _label(site), "distribution")
        base = document.at("extends")
        if not isinstance(base, str):
            return folders, not wrong
        following = folders[-1] / base if "/" in base else folders[-1].parent / base
        if not (following / "site.yaml").is_file():
            beside = {f.parent.name for f in folders[-1].parent.glob("*/site.yaml")} - {folders[-1].name}
            found = f"{show(base)}, which is no site's folder"
            problems.append(document.problem(("extends",), found, one_of(beside, base)))
            return folders, False
        if following.resolve() in (f.resolve() for f in folders):
            found = f"{show(base)}, which leads back here"
            problems.append(document.problem(("extends",), found, "a folder that does not"))
            return folders, False
        folders.append(following)


def _read_packages(folder: Path, problems: list[Problem]) -> list[Document]:
    packages: list[Document] = []
    first: dict[str, str] = {}
    for path in sorted((folder / "packages").glob("[!.]*")):  # an editor's swap file is none of ours
        if path.suffix != ".yaml":
            found = f"a file named {show(path.name)}"
            problems.append(Problem(_label(path), 0, "", found, "NAME.yaml, one for each package"))
            continue
        document = _read(path, "packages", problems)
        if document.data is None:
            continue
        packages.append(document)
        name = document.at("name")
        if isinstance(name, str) and name in first:
            found = f"package {show(name)} twice, first in {first[name]}"
            problems.append(document.problem(("name",), found, "each once"))
        elif isinstance(name, str) and name != path.stem:
            problems.append(document.problem(("name",), show(name), f"{show(path.stem)}, as the file is named"))
        if isinstance(name, str):
            first.setdefault(name, document.file)
    if not packages and not any(problem.file.startswith(_label(folder / "packages")) for problem in problems):
        problems.append(Problem(_label(folder / "packages"), 0, "", "no package", "at least one NAME.yaml"))
    return packages


def load_exemptions(path: Path) -> tuple[Exemption, ...]:
    """The exemptions of a file given by hand: a package's YAML file, or a plain list of them.

    :raises ConfigError: with every problem of the file.
    """
    problems: list[Problem] = []
    document = _read(path, "packages", problems)
    listed = isinstance(document.data, list)
    data = document.data if listed else document.at("exemptions")
    if not problems and not isinstance(data, list):
        problems.append(
            document.problem((), "no exemptions", "a list of them, or a package's file with the key exemptions")
        )
    if problems:
        raise ConfigError(problems)
    # As the file of some package, so that what is wrong is told in the same words.
    where: tuple[str, ...] = () if listed else ("exemptions",)
    lines = {
        ("exemptions", *key[len(where) :]): line for key, line in document.lines.items() if key[: len(where)] == where
    }
    package = Document(document.file, "packages", {"name": "given", "exemptions": data}, lines)
    try:
        return SourcePackage.model_validate(package.data).exemptions
    except ValidationError as error:
        raise ConfigError(model_errors.problems_of_package(error, package)) from None
