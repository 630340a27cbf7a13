"""Checks between values: names must be unique, names must exist, and settings must be consistent.

The checks read the documents, not the models, so that one wrong value hides no other problem. A module
checks one file or a few that belong together; ``names``, ``placement`` and ``templates`` check all files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from config.checks import (
    names,
    packages,
    placement,
    repositories,
    service,
    signing,
    stages,
    suites,
    targets,
    templates,
)
from config.checks.names import Sections
from config.positions import Document
from config.problems import Problem


def check(sections: Sections, of_packages: Sequence[Document]) -> Iterator[Problem]:
    """Yield all inconsistencies between the values of a site.

    :param of_packages: the documents below ``packages/``.
    """
    yield from names.check(sections)
    yield from targets.check(sections, of_packages)
    yield from suites.check(sections, of_packages)
    yield from repositories.check(sections, of_packages)
    yield from placement.check(sections, of_packages)
    yield from packages.check(sections, of_packages)
    yield from stages.check(sections)
    yield from service.check(sections)
    yield from signing.check(sections)
    yield from templates.check(sections)
