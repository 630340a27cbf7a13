"""Instructions above a level on aarch64, ppc64le and s390x, judged by GNU binutils.

A scan has three parts. It reduces the code to its distinct kinds of instruction (:mod:`workers.verify.isa.reduce`).
objdump and as find out what each kind is, and which processors have it. Then the kinds above the level are searched in
the code.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from workers.base.errors import CannotRun
from workers.formats.elf_records import Code
from workers.formats.facts import Hit, ScanResult
from workers.verify.architectures import Kinds, code_of
from workers.verify.isa.gnu import Tools, accepts, disassemble, listing, tools_for
from workers.verify.isa.levels import Level
from workers.verify.isa.reduce import Reduction
from workers.verify.isa.shapes import Verdict

__all__ = ["ScanResult", "Tools", "disassembly", "scan", "tools_for"]

_MAX_KNOWN = 500_000  # verdicts that are kept for the next files: some 100 MB
_MAX_LISTED = 1 << 16  # bytes of a function that are disassembled to find an instruction's neighbours
_LONGEST = 8  # bytes of one instruction: a prefixed one of POWER10


def scan(codes: Sequence[Code], starts: Sequence[int], level: Level, tools: Tools) -> ScanResult:
    """Find every instruction above a level.

    :param starts: sorted addresses of functions. On s390x, where instructions differ in length, decoding starts again
        at each, so data before a function does no harm.
    :param tools: from :func:`tools_for` with the level's machine.
    :raises CannotRun: if the programs do not know the machine or the level.
    :raises CommandFailed: if objdump fails.
    """
    code = code_of(level.machine)
    if code is None or code.kinds is None:
        raise CannotRun(f"binutils decode no code of {level.machine} here", "see workers/verify/architectures/")
    if not accepts(tools, level.assembler):
        raise CannotRun(
            f"{tools.assembler} does not know {level.name} ({' '.join(level.assembler)})", "install newer binutils"
        )
    reduction = code.kinds.reduction(codes, starts, tools)
    verdicts = _verdicts(code.kinds, tuple(reduction.sizes), level, tools)
    undecoded = reduction.rest + sum(size for kind, size in reduction.sizes.items() if verdicts[kind] is None)
    above = [kind for kind, verdict in verdicts.items() if verdict]
    hits = _hits(reduction, above, code.kinds, level, tools) if above else ()
    return ScanResult(tuple(sorted(hits, key=lambda hit: hit.address)), undecoded)


@functools.cache
def _known(_level: Level, _tools: Tools) -> dict[bytes, Verdict]:
    """Return the known verdicts of this process: most kinds of instruction also occur in other files."""
    return {}


def _verdicts(kinds_of: Kinds, kinds: Sequence[bytes], level: Level, tools: Tools) -> dict[bytes, Verdict]:
    known = _known(level, tools)
    new = [kind for kind in kinds if kind not in known]
    if len(known) + len(new) > _MAX_KNOWN:
        known.clear()
        new = list(kinds)
    answers = dict(zip(new, kinds_of.verdicts(new, level, tools), strict=True)) if new else {}
    known.update(answers)
    return {kind: known[kind] for kind in kinds}


def _hits(reduction: Reduction, above: Sequence[bytes], kinds_of: Kinds, level: Level, tools: Tools) -> Iterator[Hit]:
    """Yield each place with its own text: a kind includes instructions with other registers and numbers."""
    encodings = list({encoding for _, encoding in reduction.places(above)})
    needs = dict(zip(encodings, kinds_of.verdicts(encodings, level, tools), strict=True))
    texts = {item: " ".join(text.split()) for item, text in zip(encodings, disassemble(tools, encodings), strict=True)}
    for address, encoding in reduction.places(above):
        if features := needs[encoding]:
            yield Hit(address, len(encoding), features, texts[encoding])


def disassembly(code: Code, address: int, tools: Tools, begin: int | None = None, lines: int = 3) -> tuple[str, ...]:
    """Return the text of an instruction and its neighbours, one a line: ``12a4: ldadd x0, x1, [x2]``.

    :param code: the stretch that contains it.
    :param begin: an address before it at which an instruction begins, preferably the start of its function. Without it,
        or if decoding from there does not reach ``address``, only the instructions from ``address`` on are returned.
    :param lines: neighbours on each side, if the stretch has so many.
    :raises CommandFailed: if objdump fails.
    """
    if begin is None or not code.address <= begin <= address or address - begin > _MAX_LISTED:
        begin = address
    first, behind = begin - code.address, address - code.address + (lines + 1) * _LONGEST
    rows = listing(tools, code.data[first:behind], begin)
    place = next((number for number, (at, _) in enumerate(rows) if at == address), None)
    if place is None:
        return disassembly(code, address, tools, None, lines) if begin != address else ()
    chosen = rows[max(0, place - lines) : place + lines + 1]
    return tuple(f"{at:x}: {' '.join(text.split())}" for at, text in chosen)
