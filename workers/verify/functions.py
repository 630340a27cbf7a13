"""The functions of a file and their names, from unwind tables, symbol tables and the symbols of a debug file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from workers.base.errors import MalformedError
from workers.formats.elf import Elf
from workers.formats.elf_records import SHT_DYNSYM, SHT_SYMTAB, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Code, text_at
from workers.formats.facts import Function


class FunctionTable:
    """The functions of a file, by address.

    If an unwind table and a symbol have the same address, the size comes from the table and the name from the symbol. A
    symbol without a type in a code section (some assembler sources declare none) is a label. It names only code that
    nothing else covers, and counts as a function if it is global. Names are read on demand: a large file needs few.
    """

    def __init__(
        self,
        elf: Elf,
        ranges: Iterable[tuple[int, int]] = (),
        debug: Elf | None = None,
        further: Iterable[Function] = (),
    ) -> None:
        """Collect the functions.

        :param ranges: (start, size in bytes) of each function in the unwind tables.
        :param debug: the debug file of ``elf``, from a debuginfo package; it has a symbol table even if ``elf`` is
            stripped.
        :param further: functions from a table of their language, used if the other tables do not have them.
        :raises MalformedError: if a symbol table is damaged.
        """
        self._code = elf.code
        self._code_starts = [code.address for code in elf.code]
        self._sizes: dict[int, int] = {}
        self._names: dict[int, tuple[bytes, int]] = {}
        self._labels: dict[int, tuple[bytes, int]] = {}
        global_labels: set[int] = set()
        low = high = 0  # bounds of the code around the last address: mostly the next address is in the same code
        for start, size in ranges:
            if not low <= start < high:
                low, high = self._bounds(start)
            if low <= start < high:
                self._sizes[start] = size
        relocatable = elf.type == "ET_REL"  # its debug file has other section addresses
        for file in (elf, debug) if debug is not None and not relocatable else (elf,):
            self._read(file, global_labels)
        for function in further:
            if self.code_at(function.address) is not None:
                self._sizes.setdefault(function.address, function.size)
                self._names.setdefault(function.address, (function.name.encode(errors="replace") + b"\0", 0))
        self._label_starts = sorted(self._labels)
        known = sorted(self._sizes)
        alone = {label: 0 for label in global_labels if not self._is_covered(label, known)}
        self._sizes |= alone
        self.starts: Sequence[int] = sorted(self._sizes) if alone else known
        """Start addresses of all functions, in order. A decoder starts again at each, so data before it is harmless."""

    def _read(self, file: Elf, global_labels: set[int]) -> None:
        """Read the symbols of a file."""
        by_table = set(self._sizes)
        global_names: set[int] = set()
        low = high = 0
        tables = [section for section in file.sections if section.type in (SHT_SYMTAB, SHT_DYNSYM)]
        if sum(section.size for section in tables) > len(file.data):
            raise MalformedError("damaged ELF file: its symbol tables overlap")
        string_tables = {section.link: file.strings_of(section) for section in tables}
        for section in tables:
            strings = string_tables[section.link]
            for name, info, index, address, size in file.symbol_rows(section):
                kind, binding = info & 15, info >> 4
                if not index or not name or kind not in (STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE):
                    continue
                if not low <= address < high:
                    low, high = self._bounds(address)
                    if not low <= address < high:
                        continue
                if kind == STT_NOTYPE:
                    if strings[name : name + 1] not in (b"$", b"\0", b""):  # $x, $d: mapping symbols
                        self._labels.setdefault(address, (strings, name))
                        if binding:
                            global_labels.add(address)
                    continue
                if address not in self._names or (binding and address not in global_names):
                    self._names[address] = (strings, name)  # among several names, the first global one
                    if binding:
                        global_names.add(address)
                if address not in by_table:
                    self._sizes[address] = self._sizes.get(address) or size

    def _bounds(self, address: int) -> tuple[int, int]:
        """Return the bounds of the code around an address: (first, behind the last); (0, 0) outside of all code."""
        code = self.code_at(address)
        return (code.address, code.end) if code else (0, 0)

    def _is_covered(self, address: int, starts: Sequence[int]) -> bool:
        """Return whether the function before an address covers it. If its size is unknown, it covers its section."""
        index = bisect_right(starts, address) - 1
        if index < 0:
            return False
        start = starts[index]
        size = self._sizes[start]
        return address < start + size if size else self._section(start) == self._section(address)

    def code_at(self, address: int) -> Code | None:
        """Return the stretch of code around an address."""
        index = bisect_right(self._code_starts, address) - 1
        return self._code[index] if index >= 0 and address < self._code[index].end else None

    def _section(self, address: int) -> str | None:
        code = self.code_at(address)
        return code.section if code else None

    def all(self) -> tuple[Function, ...]:
        """Return every function, by address."""
        return tuple(self._function(start) for start in self.starts)

    def size_of(self, start: int) -> int:
        """Return the size in bytes of the function that starts there; 0 if only its start is known."""
        return self._sizes.get(start, 0)

    def name_of(self, start: int) -> str:
        """Return the name of the function or label that starts there; empty if it has none."""
        named = self._names.get(start) or self._labels.get(start)
        return text_at(*named) if named else ""

    def _function(self, start: int) -> Function:
        return Function(start, self._sizes.get(start, 0), self.name_of(start), self._section(start) or "")

    def at(self, address: int) -> Function:
        """Return the function around an address. If none is known, it begins at the nearest label or start of code."""
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
            return Function(start, 0, text_at(*self._labels[start]), section)
        begins = [code.address for code in self._code if code.address <= address < code.end]
        return Function(max([floor, *begins]), 0, "", section)
