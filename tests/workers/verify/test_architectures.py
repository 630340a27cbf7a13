"""Each architecture has a module that judges its code; an unfinished module is a one-line error."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from config import architectures
from workers.base.errors import CannotRun
from workers.verify.architectures import code_of


@pytest.mark.parametrize("architecture", architectures.by_name().values(), ids=lambda one: one.name)
def test_iced_or_binutils_decode_each_architecture_and_both_records_agree(architecture) -> None:
    code = code_of(architecture.machine.elf_name)
    assert code is not None
    assert (code.kinds is None) == (architecture.disassembler is None)


@pytest.mark.parametrize("machine", ["EM_386", "EM_BPF", "EM_RISCV"])
def test_frames_of_other_machines_are_not_judged(machine: str) -> None:
    assert code_of(machine) is None


def test_an_unfinished_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "workers.verify.architectures.s390x"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    with pytest.raises(CannotRun, match=r"workers/verify/architectures/s390x\.py cannot be used: .*'CODE'") as caught:
        code_of("EM_S390")
    assert "docs/how-to/add-an-architecture.md" in caught.value.hint
