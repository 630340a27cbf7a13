"""Checks of templates: each placeholder in braces is known."""

from __future__ import annotations

import re
from collections.abc import Iterator

from config.checks.names import Sections
from config.positions import Key
from config.problems import Problem, show

# (section, key, allowed placeholders) of each template. The placeholders of a lookaside depend on its kind.
_TEMPLATES: tuple[tuple[str, Key, frozenset[str]], ...] = (
    ("repositories", ("layout", "packages"), frozenset({"repository", "arch"})),
    ("repositories", ("layout", "debuginfo"), frozenset({"repository", "arch"})),
    ("repositories", ("layout", "source"), frozenset({"repository"})),
    ("sources", ("dist_git",), frozenset({"package", "state"})),
    ("web", ("url",), frozenset({"port"})),
    ("web", ("database",), frozenset({"secret:NAME"})),
)
_LOOKASIDE = {"folder": frozenset({"state"}), "http": frozenset({"package", "file", "algorithm", "hash"})}


def check(sections: Sections) -> Iterator[Problem]:
    """Check that all placeholders are known, and that ``dist_git`` has a placeholder for the package."""
    places = [(sections[section], path, allowed) for section, path, allowed in _TEMPLATES if section in sections]
    if sources := sections.get("sources"):
        for place, item in sources.mappings("lookaside"):
            if isinstance(kind := item.get("kind"), str) and kind in _LOOKASIDE:
                places.append((sources, (*place, "location"), _LOOKASIDE[kind]))
    if workers := sections.get("workers"):
        places += [(workers, (*place, "state"), frozenset({"state"})) for place, _ in workers.mappings()]
    if signing := sections.get("signing"):
        places += [(signing, path, frozenset({"key", "file", "signature"})) for path, _ in signing.words("command")]
    for document, path, allowed in places:
        text = document.at(*path)
        for word in re.findall(r"\{([^{}]*)\}", text) if isinstance(text, str) else ():
            if re.sub(r"^secret:.+", "secret:NAME", word) not in allowed:
                names = ", ".join(f"{{{name}}}" for name in sorted(allowed))
                yield document.problem(path, f"the placeholder {show(f'{{{word}}}')}", names)
        if path == ("dist_git",) and isinstance(text, str) and "{package}" not in text:
            yield document.problem(path, f"{show(text)}, the same for every package", "a template with {package} in it")
