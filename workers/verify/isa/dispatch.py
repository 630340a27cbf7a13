"""Run-time dispatch: the reasons why a function may have instructions above the level, each with its evidence.

A program for an older processor may contain AVX2 code if it tests the processor first. The kinds of evidence, the
strongest first:

1. **ifunc**: a resolver, which the dynamic linker calls at load time, takes the function's address (psABI,
   STT_GNU_IFUNC). It must also take the address of a function that keeps to the level; otherwise it has no choice.
2. **clone**: the compiler made the function for a feature. A suffix of its name, after a dot, names the feature.
3. **go**: Go's tool chain and library (:mod:`workers.verify.isa.go_dispatch`). **kernel**: the kernel patches in the
   code of ``.altinstr_replacement`` if the processor has a feature; privileged instructions. **data**: a table between
   hand-written functions.
4. **name**: the function's name contains the feature. The name must cover all features that the function uses.
5. **guard**: before these instructions, the function tests the processor, or a word that a function with CPUID wrote.
6. **reached**: only allowed functions call it or point to it, or calls to it are behind a guard.

Reasons 4 to 6 never explain what looks like a leak. That is, first, instructions in ``main`` or in initialisers.
Second, if more functions of a file than :data:`LEAK_SHARE` are explained neither by 1 to 3 nor by their names, the file
was built for a higher level, and 4 to 6 explain nothing in it.

Levels do not cover privileged instructions: no compiler emits one for ``-march``, and outside the kernel they fault on
every processor. In the kernel, a driver needs them for its purpose (VMX, SVM), or they are behind an alternative. So
they are allowed in kernel code, and only there.

Not detected: which feature a guard tests; dispatch through tables that only computed addresses reach; tests of answers
that are passed as arguments or kept in allocated memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Protocol

from workers.formats.elf import Elf
from workers.formats.elf_records import STT_FUNC, STT_GNU_IFUNC, STT_OBJECT
from workers.formats.facts import AboveLevel, Function, Hit
from workers.verify.architectures import MachineCode, code_of
from workers.verify.functions import FunctionTable
from workers.verify.isa.go_dispatch import GoDispatch
from workers.verify.isa.levels import Level
from workers.verify.isa.names import clone_of, features_named
from workers.verify.isa.pointers import Pointers

LEAK_SHARE = 0.05
"""Share of a file's functions. Measured: zstd has dispatched code in 2 % of its functions, libcrypto in 1 %; a file
that was built for a higher level, in most."""
_LEAK_FLOOR = 3  # functions; in a file with few functions, a share means nothing
MOST_HITS = 20
"""Instructions of a function that are kept. The others are only counted."""
_MOST_RESOLVERS = 10_000
_LARGEST_TABLE = 4096  # bytes of a table of implementations
_STARTERS = frozenset(["main", "_start", "_init", "_fini"])
_INITIALISERS = frozenset([".preinit_array", ".init_array", ".fini_array", ".ctors", ".dtors"])


def explain(elf: Elf, functions: FunctionTable, hits: Sequence[Hit], level: Level) -> tuple[AboveLevel, ...]:
    """Group instructions above a level by function, and find the reason why each function is allowed.

    :param hits: from the scanner of the file's architecture, by address.
    :returns: the functions, by address; ``dispatch`` is empty if nothing explains a function.
    :raises MalformedError: if the file's tables are damaged.
    """
    grouped = _group(functions, hits)
    code = code_of(level.machine)
    reasons = _Dispatch(elf, code, functions, grouped, level).reasons() if grouped and code else {}
    return tuple(
        AboveLevel(function, _features(found), len(found), tuple(found[:MOST_HITS]), reasons.get(function, ""))
        for function, found in sorted(grouped.items(), key=lambda item: item[0].address)
    )


def _group(functions: FunctionTable, hits: Sequence[Hit]) -> dict[Function, list[Hit]]:
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
    """Applies the rules, each to the functions that the stronger rules did not explain."""

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
        self._unchosen: set[int] = set()  # taken by resolvers that have no function of the level to choose

    def reasons(self) -> dict[Function, str]:
        """Return why each function is allowed, without the functions that nothing explains."""
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
        """Yield the functions that a resolver may choose, if it may also choose one that keeps to the level."""
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
        """Yield the addresses in a table of implementations."""
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
        return f"name: it contains {', '.join(words)}" if words and self._covers(function) else ""

    def _guarded(self, function: Function) -> str:
        """Return the guard before all that the name does not cover: AES code may use MOVBE after a test for it."""
        features, words = features_named(function.name)
        beyond = [hit for hit in self._grouped[function] if not features.issuperset(hit.features)]
        reason = self._code.guard(function, beyond)
        return f"{reason}; the name contains {', '.join(words)}" if reason and words else reason

    def _covers(self, function: Function) -> bool:
        features, _ = features_named(function.name)
        return features.issuperset(_features(self._grouped[function]))

    def _starters(self) -> frozenset[int]:
        """Return the addresses that the system calls: entry, ``main``, initialisers. No test can run before these."""
        found = {self._elf.entry}
        found |= {s.address for s in self._elf.symbols if s.type == STT_FUNC and s.name in _STARTERS and s.section}
        for section in self._elf.sections:
            if section.name in _INITIALISERS or section.name.startswith((".init_array.", ".ctors.")):
                found |= set(self._table(section.address, section.size))
        if self._elf.entry and self._elf.type != "ET_REL":  # it passes main to __libc_start_main, even if stripped
            found |= set(self._code.points_to(self._functions.at(self._elf.entry)))
        return frozenset(found)


class Dispatch(Protocol):
    """The part of the rules that depends on the architecture. A reason is empty if nothing explains the function."""

    def points_to(self, function: Function) -> Sequence[int]:
        """Return the addresses that a function takes, directly or from the GOT."""

    def exemption(self, function: Function, hits: Sequence[Hit]) -> str:
        """Return why the program does not run this code as it is: the kernel's alternatives, data between functions."""

    def self_test(self, function: Function, hits: Sequence[Hit]) -> str:
        """Return why the instructions are part of a test of the processor."""

    def guard(self, function: Function, hits: Sequence[Hit]) -> str:
        """Return the guard before all of the instructions."""

    def reachable(self, rest: Sequence[Function], allowed: Set[Function], never: Set[int]) -> Mapping[Function, str]:
        """Return the functions of ``rest`` that only allowed code reaches, with their reasons."""
