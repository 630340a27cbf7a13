"""Run-time dispatch in x86 code, for :mod:`workers.verify.isa.dispatch`."""

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
# User space may execute these only if a kernel or hypervisor allows it, as in VMX and SVM guests. The decoder has no
# flag for that.
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
        """Return the addresses that a function takes: rip-relative, absolute, from the GOT."""
        return [address for _, address in self._guards.body(function).points]

    def exemption(self, function: Function, hits: Sequence[Hit]) -> str:
        """Explain the kernel's alternatives, privileged instructions in kernel code, and tables of data."""
        if function.section == _ALTERNATIVES:
            return f"kernel: {_ALTERNATIVES} is patched in by processor feature"
        if self._is_kernel and all(self._is_privileged(hit) for hit in hits):
            return "kernel: privileged instructions, which levels do not cover"
        if not function.size and not function.name and self._reach.is_data(function):
            return "data: it has no symbol and no unwind table, no call or jump leads there, and some of it is no code"
        return ""

    def _is_privileged(self, hit: Hit) -> bool:
        data = bytes(self._elf.at(hit.address, hit.size))
        return Decoder(self._elf.bits, data, ip=hit.address).decode().is_privileged or hit.text.startswith(_HYPERCALLS)

    def self_test(self, function: Function, hits: Sequence[Hit]) -> str:
        """Explain XGETBV beside CPUID, and shadow stack instructions behind RDSSP."""
        found = self._guards.self_test(function, hits)
        return f"guard: {found}" if found else ""

    def guard(self, function: Function, hits: Sequence[Hit]) -> str:
        """Return the guard: CPUID, or a test of its answer, before the first of the instructions."""
        found = self._guards.guard(function, hits)
        return f"guard: {found}" if found else ""

    def reachable(self, rest: Sequence[Function], allowed: Set[Function], never: Set[int]) -> Mapping[Function, str]:
        """Return the functions to which calls and pointers lead only from allowed code."""
        return self._reach.reasons(rest, allowed, never)
