"""Dispatch in Go programs: what Go's tool chain and its own library ask of ``internal/cpu`` before they use a feature.

Go has no ifuncs and no clones. Its compiler emits a few instructions above the level behind a test of a variable that
``internal/cpu`` fills at the start (``cmd/compile``: x86HasPOPCNT, x86HasSSE41, x86HasFMA; arm64HasATOMICS), in whatever it
compiles; the assembler of its library tests the same variables or is called behind them. For what GOAMD64 and its like
promise, a program says how it was built (:mod:`workers.verify.go`), which is a rule of its own. Functions of C and of
assembler in other people's packages get no reason here.
"""

from __future__ import annotations

from collections.abc import Collection

from config.architectures import architecture_of
from workers.formats.elf import Elf
from workers.formats.facts import Function
from workers.verify import go

# The parts of Go's library that hold assembler; "vendor" are its own copies of golang.org/x.
_LIBRARY = frozenset(
    "bytes crypto hash internal math reflect runtime strings sync syscall vendor".split()  # noqa: SIM905
)
# Labels of its assembler that belong to no package: GOROOT/src/runtime/asm_*.s, internal/bytealg/*.s.
_LABELS = frozenset(["aeshashbody", "cmpbody", "countbody", "indexbody", "indexbytebody", "memeqbody"])


class GoDispatch:
    """The Go functions of one file."""

    def __init__(self, elf: Elf) -> None:
        architecture = architecture_of(elf.machine)
        self._tested = architecture.go_tests if architecture else frozenset()
        self._names = {f.address: f.name for f in go.functions(elf)} if go.is_go(elf) else {}

    def reason(self, function: Function, features: Collection[str]) -> str:
        """Why a function is lawful, or empty."""
        name = self._names.get(function.address)
        if name is None:
            return ""
        if name in _LABELS or name.split("/")[0].split(".")[0] in _LIBRARY:
            return "go: its own library asks internal/cpu"
        if set(features) <= self._tested:
            return "go: its compiler tests internal/cpu before"
        return ""
