"""Why instructions above a level may be lawful: run-time dispatch, in words and with the evidence for it.

A program may hold AVX2 code for an older processor if it asks the processor first. The kinds of evidence, strongest first:

1. **ifunc**: a resolver, which the dynamic linker calls at load time, takes the function's address (psABI, STT_GNU_IFUNC).
   One of those it takes must keep to the level: else nothing is chosen.
2. **clone**: the compiler made the function for a feature, and says so behind a dot of its name.
3. **go**: Go's tool chain and library (:mod:`workers.verify.isa.go_dispatch`). **kernel**: ``.altinstr_replacement`` is
   patched in by processor feature; privileged instructions. **data**: a table between hand-written functions.
4. **name**: the name says the feature. It must cover all that the function holds.
5. **guard**: the function asks the processor, or tests a word that such a function wrote, and decides, before.
6. **reached**: all that calls it or points to it is lawful, or does so behind a guard.

What a leak looks like is never explained by 4 to 6: instructions in ``main`` or in initialisers; and if more functions of a
file than :data:`LEAK_SHARE` are explained neither by 1 to 3 nor by their names, the file was built too high, and nothing in
it is explained by 4 to 6. A privileged instruction is no matter of a level: no compiler emits one for ``-march``, it faults
outside the kernel on every processor, and in the kernel it is the driver's purpose (VMX, SVM) or stands behind an
alternative. So in kernel code it has a reason of its own; elsewhere it has none.

What is not seen: which feature a guard asks for; dispatch through tables that only computed addresses reach, or on answers
that are handed over as arguments or kept in memory that is allocated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol

from workers.formats.elf import STT_FUNC, STT_GNU_IFUNC, STT_OBJECT, Elf
from workers.formats.facts import AboveLevel, Function, Hit
from workers.verify.architectures import MachineCode, code_of
from workers.verify.functions import FunctionTable
from workers.verify.isa.go_dispatch import GoDispatch
from workers.verify.isa.levels import Level
from workers.verify.isa.names import clone_of, features_named
from workers.verify.isa.pointers import Pointers

LEAK_SHARE = 0.05
"""Of the functions of a file. Measured: zstd has its dispatched code in 2 %, libcrypto in 1 %; what is built too high, in most."""
_LEAK_FLOOR = 3  # functions; of a file with few, a share says nothing
MOST_HITS = 20
"""Instructions that are kept of a function. The rest are counted."""
_MOST_RESOLVERS = 10_000
_LARGEST_TABLE = 4096  # bytes of a table of implementations
_STARTERS = frozenset(["main", "_start", "_init", "_fini"])
_INITIALISERS = frozenset([".preinit_array", ".init_array", ".fini_array", ".ctors", ".dtors"])


def explain(elf: Elf, functions: FunctionTable, hits: Sequence[Hit], level: Level) -> tuple[AboveLevel, ...]:
    """Group instructions above a level by function, and say of each function why it is lawful.

    :param hits: as the scanner of the file's architecture found them, by address.
    :returns: by address; ``dispatch`` is empty where nothing explains a function.
    :raises MalformedError: where the file's tables are damaged.
    """
    grouped = _grouped(functions, hits)
    code = code_of(level.machine)
    reasons = _Dispatch(elf, code, functions, grouped, level).reasons() if grouped and code else {}
    return tuple(
        AboveLevel(function, _features(found), len(found), tuple(found[:MOST_HITS]), reasons.get(function, ""))
        for function, found in sorted(grouped.items(), key=lambda item: item[0].address)
    )


def _grouped(functions: FunctionTable, hits: Sequence[Hit]) -> dict[Function, list[Hit]]:
    grouped: dict[Function, list[Hit]] = defaultdict(list)
    function, end = None, 0
    for hit in hits:
        if function is None or not function.address <= hit.address < end:
            function = functions.at(hit.address)
            end = function.address + function.size
        grouped[function].append(hit)
    return grouped


def _features(hits: Iterable[Hit]) -> tuple[str, ...]:
    return tuple(sorted({feature for hit in hits for feature in hit.features}))


class _Dispatch:
    """The rules, each over what the stronger ones left."""

    def __init__(
        self,
        elf: Elf,
        code: MachineCode,
        functions: FunctionTable,
        grouped: Mapping[Function, Sequence[Hit]],
        level: Level,
    ) -> None:
        self._elf, self._functions, self._grouped, self._level = elf, functions, grouped, level
        self._pointers = Pointers(elf)
        self._code = code.dispatch(elf, functions, self._pointers)
        self._go = GoDispatch(elf)
        self._reasons: dict[Function, str] = {}
        self._unchosen: set[int] = set()  # taken by resolvers that have nothing of the level to choose

    def reasons(self) -> dict[Function, str]:
        """Why each function is lawful; what nothing explains is not in it."""
        self._apply(self._chosen())
        self._apply((f, self._clone(f)) for f in self._rest() if f.address not in self._unchosen)
        self._apply((f, self._go.reason(f, _features(self._grouped[f]))) for f in self._rest())
        self._apply((function, self._code.exemption(function, self._grouped[function])) for function in self._rest())
        self._apply((function, self._code.self_test(function, self._grouped[function])) for function in self._rest())
        starters = self._starters() | self._unchosen
        named = {function: reason for function in self._rest() if (reason := self._name(function))}
        left = len(self._rest()) - len(named)
        if left <= max(_LEAK_FLOOR, LEAK_SHARE * len(self._functions.starts)):
            self._apply((function, reason) for function, reason in named.items() if function.address not in starters)
            self._apply((f, self._guarded(f)) for f in self._rest() if f.address not in starters)
            if rest := self._rest():
                self._apply(self._code.reachable(rest, self._reasons.keys(), starters).items())
        return self._reasons

    def _apply(self, found: Iterable[tuple[Function, str]]) -> None:
        self._reasons.update({function: reason for function, reason in list(found) if reason})

    def _rest(self) -> list[Function]:
        return [function for function in self._grouped if function not in self._reasons]

    def _chosen(self) -> Iterator[tuple[Function, str]]:
        """Implementations that a resolver takes, if it may also take one that keeps to the level."""
        resolvers = {symbol.address for symbol in self._elf.symbols if symbol.type == STT_GNU_IFUNC and symbol.section}
        objects = {s.address: s.size for s in self._elf.symbols if s.type == STT_OBJECT and s.section}
        for address in sorted(resolvers | set(self._pointers.resolvers))[:_MOST_RESOLVERS]:
            resolver = self._functions.at(address)
            taken = {
                self._functions.at(target)
                for pointed in self._code.points_to(resolver)
                for target in (pointed, *self._table(pointed, objects.get(pointed, 0)))
                if self._is_entry(target)
            }
            above = [function for function in taken if function in self._grouped]
            if len(above) < len(taken):
                for function in above:
                    yield function, f"ifunc: the resolver {resolver} chooses it"
            else:
                self._unchosen |= {function.address for function in above}

    def _table(self, address: int, size: int) -> Iterator[int]:
        """The addresses in a table of implementations."""
        step = self._elf.bits // 8
        yield from (self._pointers.at(slot) for slot in range(address, address + min(size, _LARGEST_TABLE), step))

    def _is_entry(self, address: int) -> bool:
        if not any(code.address <= address < code.end for code in self._elf.code):
            return False
        function = self._functions.at(address)
        return function.address == address

    def _clone(self, function: Function) -> str:
        word = clone_of(function.name)
        return f"clone: the compiler made it for {word}" if word and self._covers(function) else ""

    def _name(self, function: Function) -> str:
        _, words = features_named(function.name)
        return f"name: it says {', '.join(words)}" if words and self._covers(function) else ""

    def _guarded(self, function: Function) -> str:
        """A guard before whatever the name does not cover: AES code may use MOVBE where it asked for that, too."""
        features, words = features_named(function.name)
        beyond = [hit for hit in self._grouped[function] if not features.issuperset(hit.features)]
        reason = self._code.guard(function, beyond)
        return f"{reason}; the name says {', '.join(words)}" if reason and words else reason

    def _covers(self, function: Function) -> bool:
        features, _ = features_named(function.name)
        return features.issuperset(_features(self._grouped[function]))

    def _starters(self) -> frozenset[int]:
        """Addresses of what the system calls by itself: entry, ``main``, initialisers. Nothing has been asked by then."""
        found = {self._elf.entry}
        found |= {s.address for s in self._elf.symbols if s.type == STT_FUNC and s.name in _STARTERS and s.section}
        for section in self._elf.sections:
            if section.name in _INITIALISERS or section.name.startswith((".init_array.", ".ctors.")):
                found |= set(self._table(section.address, section.size))
        if self._elf.entry and self._elf.type != "ET_REL":  # hands main to __libc_start_main, stripped or not
            found |= set(self._code.points_to(self._functions.at(self._elf.entry)))
        return frozenset(found)


class Dispatch(Protocol):
    """What the rules ask of code, architecture by architecture. Reasons are empty where there is none."""

    def points_to(self, function: Function) -> Sequence[int]:
        """Addresses that a function takes, by way of the GOT or not."""

    def exemption(self, function: Function, hits: Sequence[Hit]) -> str:
        """They are no code that a program runs as it stands: the kernel's alternatives, data between functions."""

    def self_test(self, function: Function, hits: Sequence[Hit]) -> str:
        """The instructions are themselves the question what the processor can."""

    def guard(self, function: Function, hits: Sequence[Hit]) -> str:
        """The guard that stands before all of them."""

    def reachable(self, rest: Sequence[Function], allowed: Set[Function], never: Set[int]) -> Mapping[Function, str]:
        """Those of the rest that only lawful code reaches."""
