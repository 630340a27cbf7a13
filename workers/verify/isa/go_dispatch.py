"""Run-time dispatch in Go programs: Go's compiler and library test ``internal/cpu`` before they use a feature.

Go has no ifuncs and no clones. In any package, its compiler emits a few instructions above the level behind a test of a
variable that ``internal/cpu`` sets at the start (``cmd/compile``: x86HasPOPCNT, x86HasSSE41, x86HasFMA;
arm64HasATOMICS). The assembler code of Go's library tests the same variables, or is called after such a test. Whether a
program was built for its level (GOAMD64 and similar) is another rule, ``go-settings`` (:mod:`workers.verify.go`). C
functions, and assembler functions of other packages, get no reason here.
"""

from __future__ import annotations

from collections.abc import Collection

from config.architectures import architecture_of
from workers.formats.elf import Elf
from workers.formats.facts import Function
from workers.verify import go

# The parts of Go's library with assembler; "vendor" has its copies of golang.org/x.
_LIBRARY = frozenset(
    "bytes crypto hash internal math reflect runtime strings sync syscall vendor".split()  # noqa: SIM905
)
# Labels in its assembler sources that belong to no package: GOROOT/src/runtime/asm_*.s, internal/bytealg/*.s.
_LABELS = frozenset(["aeshashbody", "cmpbody", "countbody", "indexbody", "indexbytebody", "memeqbody"])


class GoDispatch:
    """The Go functions of one file."""

    def __init__(self, elf: Elf) -> None:
        architecture = architecture_of(elf.machine)
        self._tested = architecture.go_tests if architecture else frozenset()
        self._names = {f.address: f.name for f in go.functions(elf)} if go.is_go(elf) else {}

    def reason(self, function: Function, features: Collection[str]) -> str:
        """Return why a function is allowed, or an empty text."""
        name = self._names.get(function.address)
        if name is None:
            return ""
        if name in _LABELS or name.split("/")[0].split(".")[0] in _LIBRARY:
            return "go: Go's library tests internal/cpu"
        if set(features) <= self._tested:
            return "go: Go's compiler adds a test of internal/cpu"
        return ""
