"""Read the YAML files of a folder as a ``Site``. All problems are reported at once, with file, line and key."""

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
"""Sections whose file may be absent: every key has a default."""
NOT_INHERITED = frozenset({"groups", "signing"})
"""Sections that a folder may lack and never inherits from the folder that it extends: groups list packages, which are
not inherited either, and a distribution signs only with its own key."""


def site_folder(name_or_path: str) -> Path:
    """Return the folder of a site, given by its name (a folder below config/) or by a path."""
    return Path(name_or_path) if "/" in name_or_path else FOLDER / name_or_path


def known_sites() -> tuple[str, ...]:
    """Return the names of the sites below config/, sorted."""
    return tuple(sorted(site.parent.name for site in FOLDER.glob("*/site.yaml")))


def load_site(name_or_path: str) -> Site:
    """Read the folder of a site. Missing section files come from the folder that it ``extends``.

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
        reported = {(problem.file, problem.key) for problem in problems}
        from_models = model_errors.problems_of(error, sections, packages)
        problems += (problem for problem in from_models if (problem.file, problem.key) not in reported)
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    return site


def hardware_list(name_or_path: str, file: str) -> tuple[PciDevice, ...]:
    """Return the devices of a list that a package of the site names (``SourcePackage.hardware``).

    :raises ConfigError: if the list cannot be read or has an error.
    """
    path = site_folder(name_or_path) / file
    return hardware.read_list(path, _label(path))


def _hardware_lists(folder: Path, packages: Iterable[Document]) -> Iterator[Problem]:
    """Yield the problems of the lists that packages name; each list is read once."""
    seen: set[str] = set()
    for package in packages:
        for place, item in package.mappings("hardware"):
            file = item.get("list")
            if not isinstance(file, str) or not re.fullmatch(hardware.FILE, file) or file in seen:
                continue  # the model reports a bad name
            seen.add(file)
            if not (path := folder / file).is_file():
                beside = (f"hardware/{p.name}" for p in (folder / "hardware").glob("*.tsv"))
                yield package.problem((*place, "list"), f"{show(file)}, which does not exist", one_of(beside, file))
                continue
            try:
                hardware.read_list(path, _label(path))
            except ConfigError as error:
                yield from error.problems


def _label(path: Path) -> str:
    """Return the name of a file in error messages: relative to the checkout if it is inside, else the given path."""
    resolved = path.resolve()
    return str(resolved.relative_to(FOLDER.parent) if resolved.is_relative_to(FOLDER.parent) else path)


def _read(path: Path, section: str, problems: list[Problem]) -> Document:
    document, wrong = positions.read(path, _label(path), section)
    problems += wrong
    return document


def _read_sections(folder: Path, problems: list[Problem]) -> dict[str, Document]:
    """Return the documents of a site's sections: from its own folder, else from the folders that it extends."""
    folders, whole = _folders(folder, problems)
    sections: dict[str, Document] = {}
    for section, file in SECTIONS.items():
        # A dangling link is an unreadable file of this folder, not a reason to inherit the file.
        places = folders[:1] if section in NOT_INHERITED else folders
        path = next((f / file for f in places if (f / file).is_symlink() or (f / file).exists()), None)
        if path is None and (section in NOT_INHERITED | OPTIONAL or not whole):
            continue
        if path is None:
            allowed = f"{file} here, or in the folder this one extends"
            problems.append(Problem(_label(folder / file), 0, "", "no such file", allowed))
            continue
        document = _read(path, section, problems)
        if document.data is not None:
            sections[section] = document
    strays = {*folder.glob("[!.]*.yaml"), *folder.glob("[!.]*.yml")} - {folder / file for file in SECTIONS.values()}
    files = SECTIONS.values()
    problems += (
        Problem(_label(stray), 0, "", "a file that is no section", one_of(files, stray.name)) for stray in strays
    )
    return sections


def _folders(folder: Path, problems: list[Problem]) -> tuple[list[Path], bool]:
    """Return the folder and those that it extends, the nearest first, and whether the chain is complete."""
    folders = [folder]
    while True:
        site = folders[-1] / "site.yaml"
        if not site.is_file():
            return folders, True
        # Problems of its text are reported when the section is read.
        document, wrong = positions.read(site, _label(site), "distribution")
        base = document.at("extends")
        if not isinstance(base, str):
            return folders, not wrong
        following = folders[-1] / base if "/" in base else folders[-1].parent / base
        if not (following / "site.yaml").is_file():
            beside = {f.parent.name for f in folders[-1].parent.glob("*/site.yaml")} - {folders[-1].name}
            found = f"{show(base)}, which is not the folder of a site"
            problems.append(document.problem(("extends",), found, one_of(beside, base)))
            return folders, False
        if following.resolve() in (f.resolve() for f in folders):
            found = f"{show(base)}, which leads back to this folder"
            problems.append(document.problem(("extends",), found, "a folder that does not extend this one"))
            return folders, False
        folders.append(following)


def _read_packages(folder: Path, problems: list[Problem]) -> list[Document]:
    packages: list[Document] = []
    first: dict[str, str] = {}
    for path in sorted((folder / "packages").glob("[!.]*")):  # without the swap files of editors
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
    """Return the exemptions of a file given by hand: a package's YAML file, or a plain list of exemptions.

    :raises ConfigError: with every problem of the file.
    """
    problems: list[Problem] = []
    document = _read(path, "packages", problems)
    listed = isinstance(document.data, list)
    data = document.data if listed else document.at("exemptions")
    if not problems and not isinstance(data, list):
        problems.append(
            document.problem((), "no exemptions", "a list of exemptions, or a package's file with the key exemptions")
        )
    if problems:
        raise ConfigError(problems)
    # Validated as the file of a package, so that the error messages are the same.
    where: tuple[str, ...] = () if listed else ("exemptions",)
    lines = {
        ("exemptions", *key[len(where) :]): line for key, line in document.lines.items() if key[: len(where)] == where
    }
    package = Document(document.file, "packages", {"name": "given", "exemptions": data}, lines)
    try:
        return SourcePackage.model_validate(package.data).exemptions
    except ValidationError as error:
        raise ConfigError(model_errors.problems_of_package(error, package)) from None
