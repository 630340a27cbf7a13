"""Which PCI devices a kernel's modules claim, held against a list of devices that it must support.

A module names its devices in ``alias=pci:…`` entries of its ``.modinfo`` section, made by ``scripts/mod/file2alias.c``
of the kernel; depmod collects them in ``modules.alias``, the build those of what is built in in
``modules.builtin.modinfo``. modprobe compares such a pattern with a device's own modalias by ``fnmatch`` (libkmod).

**When a row is supported.** The patterns have seven fields, each a number or ``*``, so that no matching of texts is
needed: a module supports a row if one of its patterns *covers* it, which is, in each field, ``*`` or the row's own
number. Every device of the row is claimed then. A pattern that *overlaps* with the row, because it has a number where the
row says any, claims some of them; whether these are the ones that are meant is for a person to see (VERIFY).
The row's driver must be the module's name, or another name that the module gives itself (``alias=mpt2sas`` of mpt3sas).
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from config.hardware import PciDevice
from workers.base.errors import MalformedError
from workers.formats.compression import unpacked_pieces
from workers.formats.elf import Elf
from workers.results import Check

RULE = "hardware"
MAX_MODULE = 256 << 20
"""Bytes a module may unpack to; the largest in use, with their debug data, have a tenth of this."""

_MODULE = re.compile(r"(?P<name>[^/]+)\.ko(?:\.(?:xz|zst|gz))?")
_ALIAS = re.compile(
    r"pci:v(?P<v>[0-9A-F]{8}|\*)d(?P<d>[0-9A-F]{8}|\*)sv(?P<sv>[0-9A-F]{8}|\*)sd(?P<sd>[0-9A-F]{8}|\*)"
    r"bc(?P<bc>[0-9A-F]{2}|\*)sc(?P<sc>[0-9A-F]{2}|\*)i(?:[0-9A-F]{2}|\*)"
)
_RELEASE = re.compile(r"(?:^|/)lib/modules/([^/]+)/")
_LISTS = {"modules.alias", "modules.builtin.alias", "modules.builtin.modinfo"}


@dataclass(frozen=True)
class Module:
    """A kernel module: what it calls itself, and what it claims."""

    name: str
    """As ``lsmod`` shows it, with ``_`` for ``-``."""
    patterns: tuple[tuple[int | None, ...], ...] = ()
    """Vendor, device, subvendor, subdevice, class, subclass of each PCI alias; None is ``*``."""
    other_names: frozenset[str] = frozenset()


@dataclass
class Kernel:
    """The modules of one kernel, collected file by file."""

    modules: dict[str, Module] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What could not be read, a line each."""

    def add(self, path: str, data: bytes) -> None:
        """Take in one file: a module, compressed or not, or a list of aliases. Damage is noted, never raised."""
        try:
            for module in modules_of(path, data):
                known = self.modules.get(module.name, Module(module.name))
                self.modules[module.name] = Module(
                    module.name,
                    tuple(dict.fromkeys((*known.patterns, *module.patterns))),
                    known.other_names | module.other_names,
                )
        except MalformedError as error:
            self.problems.append(f"{path}: {error}")


def kernels_of(files: Iterable[tuple[str, Path]]) -> dict[str, Kernel]:
    """The kernels that files belong to, by release (``uname -r``); "" of modules that lie in no kernel's folder.

    :param files: the path of each as installed, and where its bytes lie. Only modules and lists of aliases are read.
    """
    kernels: dict[str, Kernel] = {}
    for path, content in files:
        if not is_kernel_file(path):
            continue
        release = found[1] if (found := _RELEASE.search(path)) else ""
        kernel = kernels.setdefault(release, Kernel())
        if content.stat().st_size > MAX_MODULE:
            kernel.problems.append(f"{path}: more than {MAX_MODULE} bytes")
        else:
            kernel.add(path, content.read_bytes())
    return kernels


def is_kernel_file(path: str) -> bool:
    """Whether a path names a module or a list of aliases that :meth:`Kernel.add` reads."""
    name = PurePosixPath(path).name
    return name in _LISTS or _MODULE.fullmatch(name) is not None


def modules_of(path: str, data: bytes) -> Iterator[Module]:
    """The modules that a file tells of.

    :raises MalformedError: when it is damaged, or unpacks to more than :data:`MAX_MODULE`.
    """
    name = PurePosixPath(path).name
    if name == "modules.builtin.modinfo":
        entries = [text.partition(".") for text in data.decode("utf-8", "replace").split("\0") if "." in text]
        yield from _grouped(
            (module, rest.removeprefix("alias=")) for module, _, rest in entries if rest[:6] == "alias="
        )
    elif name in _LISTS:
        rows = (line.split() for line in data.decode("utf-8", "replace").splitlines())
        yield from _grouped((row[2], row[1]) for row in rows if len(row) == 3 and row[0] == "alias")
    elif found := _MODULE.fullmatch(name):
        elf = Elf(b"".join(unpacked_pieces(io.BytesIO(data), name, MAX_MODULE)))
        section = elf.section(".modinfo")
        if elf.type != "ET_REL" or section is None:
            raise MalformedError("no kernel module: it has no .modinfo section")
        texts = elf.content(section).tobytes().decode("utf-8", "replace").split("\0")
        own_name = next((text[5:] for text in texts if text.startswith("name=")), found["name"])
        yield _module(own_name, [text[6:] for text in texts if text.startswith("alias=")])


def _grouped(pairs: Iterable[tuple[str, str]]) -> Iterator[Module]:
    aliases: dict[str, list[str]] = {}
    for module, alias in pairs:
        aliases.setdefault(module, []).append(alias)
    yield from (_module(name, texts) for name, texts in aliases.items())


def _module(name: str, aliases: Iterable[str]) -> Module:
    patterns, names = [], set()
    for alias in aliases:
        if found := _ALIAS.fullmatch(alias):
            patterns.append(tuple(None if word == "*" else int(word, 16) for word in found.groups()))
        elif ":" not in alias:
            names.add(_plain(alias))
    return Module(_plain(name), tuple(patterns), frozenset(names))


def _plain(name: str) -> str:
    """The name of a module as libkmod compares it."""
    return name.replace("-", "_")


def judge_hardware(devices: Sequence[PciDevice], kernel: Kernel, file: str) -> tuple[Check, ...]:
    """A check for each device that a kernel does not support, and one for those it does.

    :param file: what the checks call the kernel: its package or folder.
    """
    if not kernel.modules:
        detail = "nothing was checked: no kernel module was found"
        return (*_unread(kernel, file), Check(rule=RULE, file=file, outcome="failed", detail=detail))
    claims: dict[int | None, list[tuple[Module, tuple[int | None, ...]]]] = {}
    for module in kernel.modules.values():
        for pattern in module.patterns:
            claims.setdefault(pattern[0], []).append((module, pattern))
    checks = list(_unread(kernel, file))
    supported: Counter[str] = Counter()
    for device in devices:
        of_vendor = [*claims.get(device.fields[0], ()), *claims.get(None, ())]
        if check := _judge_device(device, kernel, of_vendor, file):
            checks.append(check)
        else:
            supported[device.driver] += 1
    if supported:
        drivers = ", ".join(f"{driver} {count}" for driver, count in sorted(supported.items()))
        detail = f"{supported.total()} of {len(devices)} devices: {drivers}"
        checks.append(Check(rule=RULE, file=file, outcome="passed", detail=detail))
    return tuple(checks)


def _judge_device(
    device: PciDevice, kernel: Kernel, claims: Sequence[tuple[Module, tuple[int | None, ...]]], file: str
) -> Check | None:
    wanted = _plain(device.driver)
    covering = {module.name: module for module, pattern in claims if covers(pattern, device.fields)}
    if any(wanted in (module.name, *module.other_names) for module in covering.values()):
        return None
    what = f"{device} {device.name} (line {device.line})"
    if covering:
        detail = f"{what}: {', '.join(sorted(covering))} claims it, not {device.driver}"
        return Check(rule=RULE, file=file, outcome="failed", level="VERIFY", detail=detail)
    partly = [p for m, p in claims if wanted in (m.name, *m.other_names) and overlaps(p, device.fields)]
    if partly:
        detail = f"{what}: {device.driver} claims only some of these devices; name them one by one in the list"
        return Check(rule=RULE, file=file, outcome="failed", level="VERIFY", detail=detail)
    built = any(wanted in (module.name, *module.other_names) for module in kernel.modules.values())
    how = "its device table lacks it: see the patch that brings the device back"
    missing = f"{device.driver} does not claim it; {how}" if built else f"the kernel has no module {device.driver}"
    return Check(rule=RULE, file=file, outcome="failed", detail=f"{what}: {missing}")


def covers(pattern: Sequence[int | None], fields: Sequence[int | None]) -> bool:
    """Whether each field of ``pattern`` is any, or the same number: everything ``fields`` speaks of is in ``pattern``."""
    return all(one is None or one == other for one, other in zip(pattern, fields, strict=True))


def overlaps(pattern: Sequence[int | None], fields: Sequence[int | None]) -> bool:
    """Whether there can be a device that both speak of."""
    return all(one is None or other is None or one == other for one, other in zip(pattern, fields, strict=True))


def _unread(kernel: Kernel, file: str) -> Iterator[Check]:
    for problem in kernel.problems:
        yield Check(rule=RULE, file=file, outcome="failed", detail=problem)
