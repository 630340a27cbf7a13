"""What the compiler of a unit was told, and whether that is what its target asks for. Pure functions over units.

GCC writes its flags into DW_AT_producer (-grecord-gcc-switches, its default), clang its whole command line if it is asked
to (-grecord-command-line). Assemblers make what they are told; rustc, Go and others record no flags. For those the
declaration says nothing, and what is observed in the code decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from workers.formats.facts import Unit

# How producers begin, the longer first. GCC's front ends for D, Go, Ada, Fortran, Rust … record flags like that for C.
_BEGINNINGS = (
    ("GNU AS ", "assembler"),
    ("GNU GIMPLE ", "lto-partition"),
    ("GNU ", "gnu"),
    ("NASM ", "assembler"),
    ("yasm ", "assembler"),
    ("Go cmd/compile", "go"),
    ("The Glorious Glasgow Haskell", "haskell"),
    ("zig ", "zig"),
)
# "Debian clang version 14.0.6", "clang version 19.1.0 (Red Hat 19.1.0-2.el10)", "flang version …"; a command line behind.
_CLANG = re.compile(r"\b(?:clang|flang|flang-new) version ")
_RUST = re.compile(r"\brustc version ")

# clang puts a backslash before spaces and backslashes within a word, and renders joined arguments of these apart.
_CLANG_WORD = re.compile(r"(?:\\.|[^ \\])+")
_ESCAPED = re.compile(r"\\(.)")
_TAKES_ARGUMENT = frozenset(
    "-D -U -I -L -T -o -x -l -u -z -include -imacros -isystem -iquote -idirafter -isysroot -include-pch -iprefix "  # noqa: SIM905
    "-iwithprefix -MF -MT -MQ -MJ -mllvm -target -arch -Xlinker -Xassembler -Xpreprocessor -Xclang".split()
)
# What -Xclang can slip in: the compiler proper's own option, which comes after all of the driver's and so overrules them.
_FRAME_POINTER = {
    "-mframe-pointer=none": "-fomit-frame-pointer",
    "-mframe-pointer=non-leaf": "-momit-leaf-frame-pointer",
}


@dataclass(frozen=True, slots=True)
class UnitVerdict:
    """What one unit's producer proves."""

    family: str
    """Whose rule applies: ``gnu``, ``clang``, ``lto-partition``, a language, or empty for a compiler nobody knows here."""
    outcome: Literal["passed", "failed", "skipped"]
    reason: str = ""
    """Of a skip, machine-readable: ``language-rust`` …, ``lto-partition``, ``cgo``."""
    missing: tuple[str, ...] = ()
    """The wanted flags that are not in force."""
    detail: str = ""
    """Of a violation, in words."""


def judge_unit(unit: Unit, wanted: Sequence[str], beside_go: bool = False) -> UnitVerdict:
    """What a unit proves of the flags that are wanted.

    A unit whose compiler could have recorded its flags and did not proves nothing, and that is a violation.

    :param beside_go: whether units of Go stand in the same file. Go compiles the C of such a program with
        -gno-record-gcc-switches, whatever it is told (cmd/go, so that builds are reproducible): units without any flag are
        then skipped as ``cgo``.
    """
    of = family(unit)
    if reason := _excuse(of):
        return UnitVerdict(of, "skipped", reason)
    name = unit.name or "(no name)"
    if not unit.producer and unit.name.endswith(".dwo"):
        why = f"{name}, which no package keeps, holds the flags of a unit: compile without -gsplit-dwarf"
        return UnitVerdict(of, "failed", missing=tuple(wanted), detail=why)
    words = flags_of(unit)
    if not words and of == "gnu" and beside_go:
        return UnitVerdict(of, "skipped", "cgo")
    missing = missing_flags(words, wanted)
    if not missing:
        return UnitVerdict(of, "passed")
    what = f"{name} lacks {' '.join(missing)}"
    if not words and of in ("gnu", "clang"):
        how = "-grecord-gcc-switches" if of == "gnu" else "-grecord-command-line"
        what = f"{name} records no flags: compile with {how}"
    return UnitVerdict(of, "failed", missing=missing, detail=f"{what}; compiled by: {unit.producer or '(unknown)'}")


def family(unit: Unit) -> str:
    """Whose rule a unit falls under: what its producer says it is; where that is unknown, its language.

    The language alone would mislead: gccgo and GNU D record flags as GCC does, and zig calls its units C.
    """
    if unit.language == "assembler":
        return "assembler"
    for beginning, name in _BEGINNINGS:
        if unit.producer.startswith(beginning):
            return name
    if unit.language == "rust" or _RUST.search(unit.producer):
        return "rust"
    if _CLANG.search(unit.producer):
        return "clang"
    return unit.language


def _excuse(of: str) -> str:
    """Why a family is not asked for flags, or an empty text.

    The partitions of GCC's link-time optimisation record what the link was told. One unit for each source stands beside
    them, and those carry the flags of the compile.
    """
    if of in ("gnu", "clang", ""):
        return ""
    return of if of == "lto-partition" else f"language-{of}"


def flags_of(unit: Unit) -> tuple[str, ...]:
    """The flags that a producer records, in the order of the command line; empty where it records none."""
    if (version := _CLANG.search(unit.producer)) is not None:
        return tuple(_clang_flags(unit.producer[version.end() :]))
    return tuple(word for word in unit.producer.split() if word.startswith("-"))


def _clang_flags(recorded: str) -> Iterator[str]:
    last = []
    words = iter([_ESCAPED.sub(r"\1", word) for word in _CLANG_WORD.findall(recorded)])
    for word in words:
        if word in _TAKES_ARGUMENT:
            argument = next(words, "")
            if word == "-Xclang" and argument in _FRAME_POINTER:
                last.append(_FRAME_POINTER[argument])
        if word.startswith("-"):
            yield word
    yield from last


def missing_flags(words: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted flags that are not in force: absent, or overruled by a later one, as compilers read them."""
    in_force = {_subject(word): word for word in words if word.startswith("-")}
    return tuple(flag for flag in wanted if in_force.get(_subject(flag)) != flag)


def _subject(flag: str) -> str:
    """What a flag is about, the same for all that overrule each other: -march=…; -fX and -fno-X; -mX and -mno-X; -O….

    ``-Wp,…`` is passed on whole and overrules nothing here.
    """
    if flag.startswith("-Wp,"):
        return flag
    if flag.startswith("-O"):
        return "-O"
    if flag[:2] in ("-f", "-m"):
        name = flag[2:].split("=", 1)[0]
        return flag[:2] + name.removeprefix("no-")
    return flag
