"""The ``isa-level`` rule: no instruction is above the level, unless only a processor that has it can reach it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from workers.formats.facts import AboveLevel
from workers.results import Check, Place
from workers.verify.promise import LISTED, Observed, Promise, count_functions, skip

RULE = "isa-level"
_NAMED = 5
_UNDECODED_SHARE = 0.1
"""Share of a file's code. On ppc64le, the jump tables that GCC puts into the code take up to half of this."""
_UNDECODED_BYTES = 4096


@dataclass(frozen=True)
class FunctionsAbove:
    """The functions of a file with instructions above the level."""

    broken: tuple[AboveLevel, ...] = ()
    dispatched: tuple[AboveLevel, ...] = ()
    """Allowed, because of run-time dispatch: other code tests the processor first."""
    excepted: tuple[tuple[AboveLevel, str], ...] = ()
    """Each with the reason of its exception."""


def functions_above(promise: Promise, file: Observed) -> FunctionsAbove:
    """Return the functions above the level: broken, dispatched and excepted ones."""
    broken, dispatched, excepted = [], [], []
    for one in file.facts.isa.functions if file.facts.isa else ():
        if one.dispatch:
            dispatched.append(one)
        elif entry := promise.exceptions.cover(RULE, file.item.path, str(one.function)):
            excepted.append((one, entry.reason))
        else:
            broken.append(one)
    return FunctionsAbove(tuple(broken), tuple(dispatched), tuple(excepted))


def judge_isa(promise: Promise, file: Observed, above: FunctionsAbove) -> Iterator[Check]:
    """Yield the checks of one file.

    :param above: as :func:`functions_above` returns them.
    """
    item, facts = file.item, file.facts
    if not facts.has_code:
        yield skip(RULE, item, "no-code")
        return
    if facts.isa is None:
        if facts.is_kernel_image:
            yield skip(RULE, item, "kernel-image", "compressed: its code is not checked; its modules are")
        elif not facts.problems and facts.machine == promise.target.elf_machine:
            why = f"no decoder knows the level {file.level}"
            yield promise.apply_exceptions(item, Check(rule=RULE, file=item.name, outcome="failed", detail=why))
        return
    if above.excepted:
        places = [_place(file, one, why) for one, why in above.excepted[:LISTED]]
        yield skip(RULE, item, "exception", count_functions(len(above.excepted)), places)
    if above.dispatched:
        places = [_place(file, one, one.dispatch) for one in above.dispatched[:LISTED]]
        detail = f"{count_functions(len(above.dispatched))} above {file.level}, reached only if the processor has it"
        yield Check(rule=RULE, file=item.name, outcome="passed", level="INFO", detail=detail, places=tuple(places))
    if above.broken:
        names = ", ".join(f"{one.function} ({' '.join(one.features)})" for one in above.broken[:_NAMED])
        more = " …" if len(above.broken) > _NAMED else ""
        places = [_place(file, one, _broken(one, file.level)) for one in above.broken[:LISTED]]
        detail = f"{count_functions(len(above.broken))} above {file.level}: {names}{more}"
        yield Check(rule=RULE, file=item.name, outcome="failed", detail=detail, places=tuple(places))
    else:
        detail = f"{file.level}: {facts.isa.code_bytes:,} bytes of code, nothing above it"
        yield Check(rule=RULE, file=item.name, outcome="passed", detail=detail)
    if facts.isa.undecoded > max(_UNDECODED_BYTES, _UNDECODED_SHARE * facts.isa.code_bytes):
        why = f"{facts.isa.undecoded:,} of {facts.isa.code_bytes:,} bytes are no instructions that the decoder knows"
        check = Check(rule="isa-decoded", file=item.name, outcome="failed", level="VERIFY", detail=why)
        yield promise.apply_exceptions(item, check)


def _broken(one: AboveLevel, level: str) -> str:
    first = one.hits[0]
    count = f"{one.count:,} instruction{'' if one.count == 1 else 's'} above {level}"
    return f"{count}: {' '.join(one.features)}; the first at {first.address:#x}: {first.text}"


def _place(file: Observed, one: AboveLevel, detail: str) -> Place:
    return Place(
        function=str(one.function),
        function_address=one.function.address,
        address=one.hits[0].address,
        size=one.hits[0].size,
        detail=detail,
        compiled_by=file.compiled_by(one.hits[0].address),
    )
