"""Roles of the web UI: somebody may do something, and not everybody everything."""

from __future__ import annotations

from collections.abc import Iterator

from config.checks.names import Sections
from config.problems import Problem


def check(sections: Sections) -> Iterator[Problem]:
    """Sites on which nobody may do anything, and roles by which everybody may do everything."""
    if web := sections.get("web"):
        if web.at("roles") == []:
            yield web.problem(("roles",), "an empty list", "at least one role, or nobody may do anything")
        for place, item in web.mappings("roles"):
            for where, word in web.words(*place, "may"):
                if word == "everything" and not item.get("users"):
                    yield web.problem(
                        where, "everything, for a role without users", "that only for a role that names its users"
                    )
