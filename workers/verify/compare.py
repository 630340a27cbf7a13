"""The ``regression`` rule: what the files of a package lost since its published build. Pure: facts in, checks out.

The rules of :mod:`workers.verify.rules` decide whether a file is good enough. This rule decides whether it became
worse. A person should look at that even if the file still passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from workers.formats.facts import FileFacts, Framing, IsaFacts
from workers.results import Check

RULE = "regression"

Loss = tuple[Literal["VERIFY", "BAD"], str]

_RELRO = {"full": 2, "partial": 1, "none": 0}
_NOISE = 0.01
"""Share of functions that may lose their frame pointer before that is a loss: a new compiler inlines differently."""
_MOST_NAMED = 5
_VERSION = re.compile(r"\d+(?:[.\-_~^+]?\d+)*")
_CLONE = re.compile(r"(?:\.(?:isra|part|constprop|cold|lto_priv|llvm)(?:\.\d+)?)+$")


def compare(old: Mapping[str, FileFacts], new: Mapping[str, FileFacts]) -> tuple[Check, ...]:
    """Compare the files of two builds.

    A file that is gone is compared with the file that replaces it, if there is exactly one. That file has the same path
    except for the numbers in it (``libz.so.1.3`` for ``libz.so.1.2.13``; modules of another kernel).

    :param old: path → facts of the published build, paths as the checks name them (``package:/path``).
    :param new: the same for the new build.
    :returns: one check for each loss, one for each file that is gone, and one with the number of files that lost
        nothing.
    """
    if not old:
        return (Check(rule=RULE, file="", outcome="skipped", reason="nothing-published"),)
    successors = _successors(old, new)
    checks: list[Check] = []
    unchanged = 0
    for path, before in sorted(old.items()):
        successor = path if path in new else successors.get(path)
        if successor is None:
            detail = "gone since the published build"
            checks.append(Check(rule=RULE, file=path, outcome="passed", level="INFO", detail=detail))
            continue
        losses = list(_losses(before, new[successor]))
        unchanged += not losses
        for level, detail in losses:
            checks.append(Check(rule=RULE, file=successor, outcome="failed", level=level, detail=detail))
    if unchanged:
        detail = f"{unchanged} files lost nothing since the published build"
        checks.append(Check(rule=RULE, file="", outcome="passed", detail=detail))
    return tuple(checks)


def _successors(old: Mapping[str, FileFacts], new: Mapping[str, FileFacts]) -> dict[str, str]:
    """Map each gone file to the only new file of the same name except for numbers."""
    added: dict[str, list[str]] = {}
    for path in new.keys() - old.keys():
        added.setdefault(_VERSION.sub("#", path), []).append(path)
    gone: dict[str, list[str]] = {}
    for path in old.keys() - new.keys():
        gone.setdefault(_VERSION.sub("#", path), []).append(path)
    return {g[0]: a[0] for name, g in gone.items() if len(g) == 1 and len(a := added.get(name, [])) == 1}


def _losses(old: FileFacts, new: FileFacts) -> Iterator[Loss]:
    if old.machine != new.machine:
        yield "BAD", f"code for {new.machine}, was for {old.machine}"
        return
    yield from _lost_traits(old, new)
    if old.framing is not None:
        yield from _lost_frames(old.framing, new.framing)
    if new.isa is not None:
        yield from _new_instructions(old.isa, new.isa)


def _lost_traits(old: FileFacts, new: FileFacts) -> Iterator[Loss]:
    before, after = old.traits, new.traits
    if before.build_id and not after.build_id:
        yield "BAD", "lost its build-id"
    if before.executable_stack is False and after.executable_stack:
        yield "BAD", "lost the non-executable stack"
    if before.relro and after.relro and _RELRO[after.relro] < _RELRO[before.relro]:
        yield "BAD" if after.relro == "none" else "VERIFY", f"lost RELRO: {after.relro}, was {before.relro}"
    if before.pie and after.pie is False:
        yield "VERIFY", "lost PIE: loaded at a fixed address now"
    if before.text_relocations is False and after.text_relocations:
        yield "BAD", "has text relocations now"
    if added := [folder or "(empty)" for folder in after.rpath if folder not in before.rpath]:
        yield "VERIFY", f"has a new rpath: {', '.join(added)}"
    if after.build_paths and not before.build_paths:
        yield "VERIFY", f"now contains the path of its build folder: {after.build_paths[0]}"


def _lost_frames(old: Framing, new: Framing | None) -> Iterator[Loss]:
    """Compare the shares of framed functions. Leaf functions have no frame, and do not count on either side."""
    before = old.framed + len(old.unframed)
    after = new.framed + len(new.unframed) if new else 0
    if not before:
        return
    if new is None or (not new.functions and old.functions):
        yield "BAD", "its frame pointers can no longer be read"
    elif after and (now := new.framed / after) < (was := old.framed / before) - _NOISE:
        known = {_plain(function.function.name) for function in old.unframed}
        names = [str(f.function) for f in new.unframed if not f.function.name or _plain(f.function.name) not in known]
        yield "VERIFY", f"keeps frame pointers in {now:.1%} of its functions, was {was:.1%}{_name_list(names)}"


def _new_instructions(old: IsaFacts | None, new: IsaFacts) -> Iterator[Loss]:
    """Compare the functions above the level without run-time dispatch. Those without a name are only counted."""
    if old is None or old.level != new.level:
        return
    before = [above.function for above in old.functions if not above.dispatch]
    after = [above.function for above in new.functions if not above.dispatch]
    known = {_plain(function.name) for function in before if function.name}
    added = [function for function in after if function.name and _plain(function.name) not in known]
    nameless = sum(not f.name for f in after) - sum(not f.name for f in before)
    if added or nameless > 0:
        count = len(added) + max(nameless, 0)
        yield "BAD", f"{count} new functions above {new.level}{_name_list([str(f) for f in added])}"


def _plain(name: str) -> str:
    """Remove the suffix that the compiler adds to the name of a part or a copy of a function."""
    return _CLONE.sub("", name)


def _name_list(names: list[str]) -> str:
    """``: a, b``, at most :data:`_MOST_NAMED` names; empty without names."""
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f": {', '.join(names[:_MOST_NAMED])}{more}"
