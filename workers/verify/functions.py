"""Which function an address belongs to, and its name: from unwind tables, symbol tables and a debug file's symbols."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from workers.verify.elf import STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Elf
from workers.verify.facts import Function


class FunctionTable:
    """The functions of a file, by address.

    Where an unwind table and a symbol speak of the same address, the table's size stands and the symbol names it. A symbol
    without a type in a code section (assembler sources that declare none) names only what nothing else covers.
    """

    def __init__(self, elf: Elf, ranges: Iterable[tuple[int, int]] = (), debug: Elf | None = None) -> None:
        """Collect the functions.

        :param ranges: (start, size in bytes) of each function the unwind tables know.
        :param debug: the file of the debuginfo package that belongs to ``elf``: its symbol table survives stripping.
        """
        self._code = elf.code
        sizes = {start: size for start, size in ranges if self._section(start) is not None}
        names: dict[int, str] = {}
        labels: dict[int, str] = {}
        relocatable = elf.type == "ET_REL"  # a debug file's sections lie elsewhere: its addresses are not ours
        for file in (elf, debug) if debug is not None and not relocatable else (elf,):
            for symbol in file.symbols:
                if not symbol.section or not symbol.name or self._section(symbol.address) is None:
                    continue
                if symbol.type in (STT_FUNC, STT_GNU_IFUNC):
                    # Of several names of one function (aliases), the first global one reads best.
                    if symbol.binding or symbol.address not in names:
                        names.setdefault(symbol.address, symbol.name)
                    if symbol.size or symbol.address not in sizes:
                        sizes.setdefault(symbol.address, symbol.size)
                elif symbol.type == STT_NOTYPE and not symbol.name.startswith("$"):  # $x, $d: mapping symbols
                    labels.setdefault(symbol.address, symbol.name)
        self.starts: Sequence[int] = sorted(sizes)
        """Where each function begins, in order. A decoder begins anew at each: no data before it leads it astray."""
        self._sizes = sizes
        self._names = names
        self._labels = labels
        self._label_starts = sorted(labels)

    def _section(self, address: int) -> str | None:
        index = bisect_right(self._code, address, key=lambda code: code.address) - 1
        if index >= 0 and address < self._code[index].end:
            return self._code[index].section
        return None

    def all(self) -> tuple[Function, ...]:
        """Every function, by address."""
        return tuple(self._function(start) for start in self.starts)

    def _function(self, start: int) -> Function:
        name = self._names.get(start) or self._labels.get(start, "")
        return Function(start, self._sizes[start], name, self._section(start) or "")

    def at(self, address: int) -> Function:
        """The function around an address; where none is known, one that begins at the nearest label or code start."""
        index = bisect_right(self.starts, address) - 1
        if index >= 0:
            start = self.starts[index]
            size = self._sizes[start]
            if address < start + size or (not size and self._section(start) == self._section(address)):
                return self._function(start)
        section = self._section(address) or ""
        label = bisect_right(self._label_starts, address) - 1
        floor = self.starts[index] + self._sizes[self.starts[index]] if index >= 0 else 0
        if label >= 0 and self._label_starts[label] >= floor and self._section(self._label_starts[label]) == section:
            start = self._label_starts[label]
            return Function(start, 0, self._labels[start], section)
        begins = [code.address for code in self._code if code.address <= address < code.end]
        return Function(max([floor, *begins]), 0, "", section)
