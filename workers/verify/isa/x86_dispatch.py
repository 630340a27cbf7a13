"""Dispatch in x86 code: what :mod:`workers.verify.isa.dispatch` asks of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from iced_x86 import Decoder

from workers.formats.elf import Elf
from workers.formats.facts import Function, Hit
from workers.verify.functions import FunctionTable
from workers.verify.isa.guards import Guards
from workers.verify.isa.pointers import Pointers
from workers.verify.isa.reach import Reach

_ALTERNATIVES = ".altinstr_replacement"
# User space may execute these only where a kernel or hypervisor lets it, as VMX and SVM guests do: no flag of the decoder.
_HYPERCALLS = ("vmcall", "vmmcall", "vmgexit")


class X86Dispatch:
    """See :class:`workers.verify.isa.dispatch.Dispatch`."""

    def __init__(self, elf: Elf, functions: FunctionTable, pointers: Pointers) -> None:
        self._elf = elf
        self._guards = Guards(elf, functions, pointers)
        self._reach = Reach(elf, functions, pointers, self._guards)
        self._is_kernel = any(
            section.name in (".altinstructions", ".modinfo", ".gnu.linkonce.this_module") for section in elf.sections
        )

    def points_to(self, function: Function) -> Sequence[int]:
        """Addresses that a function takes: rip-relative, absolute, through the GOT."""
        return [address for _, address in self._guards.body(function).points]

    def exemption(self, function: Function, hits: Sequence[Hit]) -> str:
        """Alternatives, which the kernel patches in by processor feature; privileged instructions in kernel code; tables."""
        if function.section == _ALTERNATIVES:
            return f"kernel: {_ALTERNATIVES} is patched in by processor feature"
        if self._is_kernel and all(self._is_privileged(hit) for hit in hits):
            return "kernel: privileged instructions, which are no matter of a level"
        if not function.size and not function.name and self._reach.is_data(function):
            return "data: no symbol or unwind table knows it, no call or jump leads there, and it is no code throughout"
        return ""

    def _is_privileged(self, hit: Hit) -> bool:
        data = bytes(self._elf.at(hit.address, hit.size))
        return Decoder(self._elf.bits, data, ip=hit.address).decode().is_privileged or hit.text.startswith(_HYPERCALLS)

    def self_test(self, function: Function, hits: Sequence[Hit]) -> str:
        """XGETBV beside CPUID, shadow stack instructions behind RDSSP."""
        found = self._guards.self_test(function, hits)
        return f"guard: {found}" if found else ""

    def guard(self, function: Function, hits: Sequence[Hit]) -> str:
        """CPUID, or a test of what it said, before the first of the instructions."""
        found = self._guards.guard(function, hits)
        return f"guard: {found}" if found else ""

    def reachable(self, rest: Sequence[Function], allowed: Set[Function], never: Set[int]) -> Mapping[Function, str]:
        """Those that calls and pointers lead to from lawful code alone."""
        return self._reach.reasons(rest, allowed, never)
