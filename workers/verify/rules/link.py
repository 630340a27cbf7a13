"""The rules on how a file was linked. Pure: :class:`Traits` in, one :class:`Check` for each rule out.

Each rule gives every file a check; a skip if it does not apply. Grades follow rpminspect: BAD if a user is exposed,
VERIFY if a person must look and, if the file is correct, write an exemption.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from config.models import Target
from config.nevra import is_debug
from workers.formats import rpath
from workers.formats.facts import FileFacts
from workers.results import Check

RULES = ("build-id", "executable-stack", "relro", "pie", "text-relocations", "rpath", "build-path")

_KERNEL = re.compile(r"^(?:/usr)?/lib/modules/|^/boot/")
_LINKABLE = re.compile(r"\.l?o$")
_MOST_SHOWN = 3


@dataclass(frozen=True)
class _Answer:
    """The answer of a rule for a file."""

    outcome: Literal["passed", "failed", "skipped"]
    text: str
    """The detail; for a skip, its machine-readable reason."""
    level: Literal["", "INFO", "VERIFY", "BAD"] = ""
    detail: str = ""
    """The explanation of a skip, for people."""


@dataclass(frozen=True)
class _File:
    """The file that is judged."""

    path: str
    """The installed path, without the package's name; in a static library followed by ``(member)``."""
    facts: FileFacts
    package_files: frozenset[str]

    @property
    def in_archive(self) -> bool:
        return self.path.endswith(")") and "(" in self.path

    @property
    def is_static(self) -> bool:
        return self.facts.type in ("ET_EXEC", "ET_DYN") and self.facts.traits.text_relocations is None

    def languages(self) -> frozenset[str]:
        """Return the languages of its compile units, and ``go`` if it has Go's build settings."""
        found = {unit.language for unit in self.facts.units if unit.language}
        return frozenset(found | ({"go"} if self.facts.traits.go_settings else set()))


def judge_traits(
    target: Target, file: str, facts: FileFacts, package_files: frozenset[str] = frozenset()
) -> tuple[Check, ...]:
    """Check one file by each of :data:`RULES`.

    :param file: ``package:/path`` or ``package:/path(member)``, as in :class:`workers.results.Check`.
    :param package_files: installed paths of all files in the packages of the same source; an rpath may name their
        folders.
    :returns: one check for each rule.
    """
    path = file[file.find(":/") + 1 :]
    subject = _File(path, facts, package_files)
    reason = _out_of_scope(target, file, subject)
    checks = []
    for rule in RULES:
        answer = _Answer("skipped", reason) if reason else _ASK[rule](subject)
        skipped = answer.outcome == "skipped"
        checks.append(
            Check(
                rule=rule, file=file, outcome=answer.outcome, level=answer.level,
                detail=answer.detail if skipped else answer.text, reason=answer.text if skipped else "",
            )
        )  # fmt: skip
    return tuple(checks)


def _out_of_scope(target: Target, file: str, subject: _File) -> str:
    """Return why no rule applies to a file, or an empty text."""
    package = file[: file.find(":/")] if ":/" in file else ""
    if subject.path.startswith("/usr/lib/debug/") or is_debug(package):
        return "debuginfo"
    if subject.facts.format == "efi":
        return "efi"
    if subject.facts.machine != target.elf_machine:
        return "other-machine"  # the rule `elf-machine` judges it; firmware of guests and BPF objects are allowed
    return ""


# ---------------------------------------------------------------------------------------------------- the rules


def _build_id(file: _File) -> _Answer:
    facts = file.facts
    if facts.traits.build_id:
        return _Answer("passed", facts.traits.build_id)
    if facts.type == "ET_REL" and not facts.is_module:
        return _Answer("skipped", "static-library" if file.in_archive else "object")
    if not facts.has_code:
        return _Answer("skipped", "no-code")
    how = "-ldflags=-B=gobuildid" if "go" in file.languages() else "-Wl,--build-id=sha1"
    return _Answer("failed", f"no build-id, so no debuginfo and no core dump can be matched to it: link with {how}")


def _executable_stack(file: _File) -> _Answer:
    if skip := _kernel(file):
        return skip
    if file.facts.type == "ET_REL" and not file.in_archive and not _LINKABLE.search(file.path):
        return _Answer("skipped", "object")  # nothing links it, for example a boot loader's module
    if file.facts.traits.executable_stack is None:
        return _Answer("skipped", "no-code")
    if not file.facts.traits.executable_stack:
        return _Answer("passed", "")
    if file.facts.type == "ET_REL":
        how = 'give the assembler source .section .note.GNU-stack,"",@progbits'
        return _Answer("failed", f"a program that links it gets an executable stack: {how}")
    how = "no -z execstack, no address of a nested C function, a .note.GNU-stack in each assembler source"
    return _Answer("failed", f"its stack can be executed: {how}")


def _relro(file: _File) -> _Answer:
    if skip := _kernel(file) or _unlinked(file):
        return skip
    relro = file.facts.traits.relro
    if not relro:
        return _Answer("skipped", "static" if file.is_static else "no-writable-data")
    if relro == "full":
        return _Answer("passed", relro)
    if "go" in file.languages():
        how = "Go's own linker makes none: -buildmode=pie -linkmode=external -extldflags '-Wl,-z,relro,-z,now'"
        return _Answer("failed", f"{relro}; {how}", "VERIFY")
    if relro == "partial":
        how = "link with -Wl,-z,relro,-z,now"
        return _Answer("failed", f"partial: procedure addresses stay writable; {how}", "VERIFY")
    return _Answer("failed", "none: relocated data stays writable; link with -Wl,-z,relro,-z,now")


def _pie(file: _File) -> _Answer:
    if skip := _kernel(file) or _unlinked(file):
        return skip
    match file.facts.traits.pie:
        case None:
            return _Answer("skipped", "library")
        case True:
            return _Answer("passed", "")
    how = "-buildmode=pie" if "go" in file.languages() else "compile with -fPIE, link with -pie (static: -static-pie)"
    return _Answer("failed", f"loaded at a fixed address: {how}", "VERIFY")


def _text_relocations(file: _File) -> _Answer:
    if skip := _kernel(file) or _unlinked(file):
        return skip
    if file.facts.traits.text_relocations is None:
        return _Answer("skipped", "static")
    if not file.facts.traits.text_relocations:
        return _Answer("passed", "")
    how = "compile each object with -fPIC; link with -Wl,-z,text to see which objects lack it"
    return _Answer("failed", f"its code is written to while it is loaded: {how}")


def _rpath(file: _File) -> _Answer:
    if skip := _kernel(file) or _unlinked(file):
        return skip
    if file.is_static:
        return _Answer("skipped", "static")
    entries = file.facts.traits.rpath
    wrong = [
        f"{entry or '(empty)'}: {why}"
        for entry in entries
        if (why := rpath.problem_of(entry, file.path, file.package_files))
    ]
    if wrong:
        how = "configure without rpath, or remove it in %install (chrpath -d)"
        return _Answer("failed", f"{'; '.join(wrong)}: {how}")
    superfluous = [entry for entry in entries if rpath.resolved_folder(entry, file.path) == rpath.SEARCHED]
    if superfluous:
        return _Answer("passed", f"{', '.join(superfluous)}: searched anyway", "INFO")
    return _Answer("passed", ", ".join(entries))


def _build_path(file: _File) -> _Answer:
    found, languages = file.facts.traits.build_paths, file.languages()
    if not found:
        return _Answer("passed", "")
    # Every Go program contains the paths of its sources, for tracebacks; every Rust program, for panics.
    if "go" in languages:
        return _Answer("skipped", "language-go", detail=f"{found[0]} (use -trimpath to remove it)")
    others = tuple(text for text in found if "rust" not in languages or ".rs" not in text)
    if not others:
        return _Answer("skipped", "language-rust", detail=f"{found[0]} (use --remap-path-prefix to remove it)")
    shown = "; ".join(others[:_MOST_SHOWN])
    more = f" and {len(others) - _MOST_SHOWN} more" if len(others) > _MOST_SHOWN else ""
    how = "find the option or the __FILE__ that it comes from (-ffile-prefix-map removes paths of __FILE__)"
    return _Answer("failed", f"contains the path of its build folder: {shown}{more}; {how}", "VERIFY")


# ------------------------------------------------------------------------------------------------------- helpers


def _kernel(file: _File) -> _Answer | None:
    """Return a skip for kernel images and modules, which have no dynamic linker and no stack of their own."""
    if file.facts.is_module:
        return _Answer("skipped", "kernel-module")
    return _Answer("skipped", "kernel-image") if _KERNEL.search(file.path) else None


def _unlinked(file: _File) -> _Answer | None:
    if file.facts.type != "ET_REL":
        return None
    return _Answer("skipped", "static-library" if file.in_archive else "object")


_ASK: dict[str, Callable[[_File], _Answer]] = {
    "build-id": _build_id,
    "executable-stack": _executable_stack,
    "relro": _relro,
    "pie": _pie,
    "text-relocations": _text_relocations,
    "rpath": _rpath,
    "build-path": _build_path,
}
