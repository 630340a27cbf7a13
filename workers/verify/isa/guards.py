"""Guards: x86 code that tests the processor, and the words of memory with the answers of CPUID.

Programs store the answers of CPUID in words that other code tests: libgcc's ``__cpu_model``, OpenSSL's
``OPENSSL_ia32cap_P``, flags of a library. No list of these words is needed. They are what a function with CPUID writes
after it, the addresses that this function takes, and what its callers pass just before the call or store just after it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property

from iced_x86 import Code as Codes

from workers.formats.elf import Elf
from workers.formats.elf_records import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, STT_OBJECT
from workers.formats.facts import Function, Hit
from workers.verify.functions import FunctionTable
from workers.verify.isa.bodies import Bodies, Body
from workers.verify.isa.pointers import Pointers
from workers.verify.isa.references import References

# Words of other files with answers of CPUID, and functions that return answers: libgcc, OpenSSL, glibc.
_KNOWN = frozenset(
    ["__cpu_model", "__cpu_features2", "OPENSSL_ia32cap_P", "_rtld_global_ro", "__x86_get_cpuid_feature_leaf",
     "__cpuid", "_dl_x86_get_cpu_features", "__get_cpu_features", "__cpu_indicator_init"]
)  # fmt: skip
_NEARBY = 64
"""Bytes of code before a call that make its arguments, and after it that store its result."""
_WORD = 16  # bytes after a word's address at which an access may begin: parts of a vector of flags are read
_MOST_WORDS = 64  # a function with CPUID that writes more words than this initialises a program, not the answers
_MOST_ASKERS = 64
_SMALL = 64  # bytes of a function that only returns a word
_CPUID = re.compile(rb"\x0f\xa2")


class Guards:
    """Finds the places in a file's functions that are behind a test of the processor."""

    def __init__(self, elf: Elf, functions: FunctionTable, pointers: Pointers) -> None:
        self._elf, self._functions = elf, functions
        self._bodies = Bodies(elf, pointers)
        self.references = References(elf)
        self._starts = functions.starts
        self._names = {symbol.address: symbol for symbol in elf.symbols if symbol.type == STT_OBJECT and symbol.section}

    def end_of(self, function: Function) -> int:
        """Return the address behind a function: from its size, or the start of the next one."""
        index = bisect_right(self._starts, function.address)
        following = self._starts[index] if index < len(self._starts) else 1 << 63
        return function.address + function.size if function.size else following

    def body(self, function: Function) -> Body:
        """Return what a function does."""
        return self._bodies.of(function, self.end_of(function))

    @property
    def exhausted(self) -> bool:
        """Whether the limit of code to read in this file is reached."""
        return self._bodies.exhausted

    def is_jump(self, function: Function, place: int) -> bool:
        """Return whether there is a direct call or jump at a place."""
        return any(at == place for at, _ in self.body(function).goes)

    @cached_property
    def askers(self) -> tuple[Function, ...]:
        """The functions that execute CPUID."""
        found: dict[Function, None] = {}
        for code in self._elf.code:
            for match in _CPUID.finditer(code.data):
                function = self._functions.at(code.address + match.start())
                if function.size and function not in found and self.body(function).asks:
                    found[function] = None
                if len(found) == _MOST_ASKERS:
                    return tuple(found)
        return tuple(found)

    @cached_property
    def words(self) -> dict[int, str]:
        """Address in writable data that keeps an answer → text with the function that stores it."""
        words: dict[int, str] = {}
        for function in self.askers:
            body = self.body(function)
            first = min(body.asks)
            kept = {address for place, address in body.writes if place > first}
            kept |= {address for _, address in body.points}
            self._keep(words, kept, function)
        for caller, place in self._calls_of_askers():
            body = self.body(caller)
            kept = {address for at, address in body.points if place - _NEARBY <= at < place}
            kept |= {address for at, address in body.writes if place < at <= place + _NEARBY}
            self._keep(words, kept, caller)
        for symbol in self._names.values():
            if symbol.name in _KNOWN:
                words.update(
                    dict.fromkeys(range(symbol.address, symbol.address + min(symbol.size, 256), 4), symbol.name)
                )
        return words

    def _keep(self, words: dict[int, str], kept: set[int], function: Function) -> None:
        kept = {address for address in kept if self._is_writable(address)}
        if len(kept) <= _MOST_WORDS:
            for address in kept:
                words.setdefault(address, f"{function} stores the answer of CPUID")

    @cached_property
    def _writable(self) -> list[tuple[int, int]]:
        want = SHF_ALLOC | SHF_WRITE
        kept = (s for s in self._elf.sections if s.flags & (want | SHF_EXECINSTR) == want)
        return [(section.address, section.address + section.size) for section in kept]

    def _is_writable(self, address: int) -> bool:
        return any(start <= address < end for start, end in self._writable)

    def _calls_of_askers(self) -> list[tuple[Function, int]]:
        """Return (calling function, place) for each call or jump to a function with CPUID."""
        if not self.askers or self._elf.type == "ET_REL":
            return []
        calls = []
        for at, target in self.references.to([(asker.address, asker.address + 1) for asker in self.askers]):
            caller = self._functions.at(at)
            calls += [
                (caller, place)
                for place, where in self.body(caller).goes
                if where == target and place < at <= place + 6
            ]
        return calls

    def guard_before(self, function: Function, places: Sequence[int], *, pointer: bool = False) -> str:
        """Return the test that a function decides on, if all the given places are on one side of it; otherwise empty.

        :param pointer: whether the code takes an address there, so that a conditional move may choose it.
        """
        body = self.body(function)
        for at, what in self._tests(body):
            edges, moves = body.decisions.upon(at)
            chosen = pointer and any(0 < move - place <= _NEARBY for move in moves for place in places)
            if chosen or (edges and body.decisions.behind(edges, places)):
                return what
        return ""

    def _tests(self, body: Body) -> Iterator[tuple[int, str]]:
        """Yield each place that gets an answer from CPUID or from a word, and a description."""
        yield from ((ask, f"tests the processor at {ask:#x}") for ask in body.asks)
        yield from ((at, f"tests {name} at {at:#x}") for at, name in body.names if name in _KNOWN)
        for at, address in (*body.reads, *body.points):
            if word := self._word(address):
                yield at, f"tests {self._symbol(address)} at {at:#x}, where {word}"
        for at, target in body.goes:
            if answer := self._answer(target):
                yield at, f"tests the result of {answer} at {at:#x}"

    def _answer(self, target: int) -> str:
        """Return the name of the function at an address if it only returns an answer of CPUID; otherwise empty.

        Such a function is small, reads a word with an answer, and neither calls nor writes anything.
        """
        function = self._functions.at(target)
        if function.address != target or not 0 < function.size <= _SMALL:
            return ""
        body = self.body(function)
        inside = range(function.address, function.address + function.size)
        silent = not body.writes and all(goal in inside for _, goal in body.goes)
        return str(function) if silent and any(self._word(address) for _, address in body.reads) else ""

    def _word(self, address: int) -> str:
        near = [place for place in range(address, address - _WORD, -1) if self._is_writable(place)]
        return next((self.words[place] for place in near if place in self.words), "")

    def _symbol(self, address: int) -> str:
        symbol = next((self._names[near] for near in range(address, address - 64, -1) if near in self._names), None)
        return symbol.name if symbol and address < symbol.address + max(symbol.size, 1) else f"{address:#x}"

    def guard(self, function: Function, hits: Sequence[Hit]) -> str:
        """Return the guard before all of a function's instructions above the level, or an empty text."""
        return self.guard_before(function, [hit.address for hit in hits])

    def self_test(self, function: Function, hits: Sequence[Hit]) -> str:
        """Return why the instructions are part of a test of the processor, or an empty text.

        XGETBV beside CPUID is the second half of the test for AVX (Intel's manual, volume 1, section 14.3). INCSSP and
        similar instructions are allowed behind RDSSP, which shows whether a shadow stack exists.
        """
        if all(hit.text.startswith("xgetbv") for hit in hits) and self._executes_cpuid(function):
            return "XGETBV beside CPUID is a part of the test"
        if all(hit.features == ("CET_SS",) for hit in hits) and self.guard(function, hits):
            return "RDSSP shows whether a shadow stack exists"
        return ""

    def _executes_cpuid(self, function: Function) -> bool:
        return any(each.code == Codes.CPUID for each in self.body(function).instructions)
