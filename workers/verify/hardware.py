"""The ``hardware`` rule: whether a kernel's modules claim the PCI devices of a list.

A module names its devices in ``alias=pci:…`` entries of its ``.modinfo`` section, which the kernel's
``scripts/mod/file2alias.c`` makes. depmod collects them in ``modules.alias``; the kernel's build collects those of
built-in modules in ``modules.builtin.modinfo``. modprobe compares such a pattern with the modalias of a device by
``fnmatch`` (libkmod).

**When a row is supported.** A pattern has seven fields, each a number or ``*``, so no text matching is needed. A module
supports a row if one of its patterns *covers* the row: each field is ``*`` or the number in the row. The module then
claims every device of the row. A pattern *overlaps* the row if it has a number in a field that is ``*`` in the row. The
module then claims some of the devices, and a person must check whether these are the right ones (VERIFY). The row's
driver must be the module's name, or another name that the module declares (``alias=mpt2sas`` in mpt3sas).
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
from workers.formats.compression import MAX_MODULE, unpacked_pieces
from workers.formats.elf import Elf
from workers.results import Check

RULE = "hardware"

_MODULE = re.compile(r"(?P<name>[^/]+)\.ko(?:\.(?:xz|zst|gz))?")
_ALIAS = re.compile(
    r"pci:v(?P<v>[0-9A-F]{8}|\*)d(?P<d>[0-9A-F]{8}|\*)sv(?P<sv>[0-9A-F]{8}|\*)sd(?P<sd>[0-9A-F]{8}|\*)"
    r"bc(?P<bc>[0-9A-F]{2}|\*)sc(?P<sc>[0-9A-F]{2}|\*)i(?:[0-9A-F]{2}|\*)"
)
_RELEASE = re.compile(r"(?:^|/)lib/modules/([^/]+)/")
_LISTS = {"modules.alias", "modules.builtin.alias", "modules.builtin.modinfo"}


@dataclass(frozen=True)
class Module:
    """A kernel module: its names and the devices that it claims."""

    name: str
    """As ``lsmod`` shows it, with ``_`` for ``-``."""
    patterns: tuple[tuple[int | None, ...], ...] = ()
    """Vendor, device, subvendor, subdevice, class, subclass of each PCI alias; None is ``*``."""
    other_names: frozenset[str] = frozenset()
    """Aliases without a colon, which are further names of the module."""


@dataclass
class Kernel:
    """The modules of one kernel, collected file by file."""

    modules: dict[str, Module] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """A line for each file that could not be read."""

    def add(self, path: str, data: bytes) -> None:
        """Add one file: a module, compressed or not, or a list of aliases. Damage is added to ``problems``."""
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
    """Return the kernels that files belong to, by release (``uname -r``); "" for modules outside a kernel's folder.

    :param files: (installed path, content). Only modules and lists of aliases are read.
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
    """Return whether a path names a module or a list of aliases, which :meth:`Kernel.add` reads."""
    name = PurePosixPath(path).name
    return name in _LISTS or _MODULE.fullmatch(name) is not None


def modules_of(path: str, data: bytes) -> Iterator[Module]:
    """Yield the modules in a file.

    :raises MalformedError: if it is damaged, or unpacks to more than ``MAX_MODULE`` bytes.
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
    """Return a module name as libkmod compares it."""
    return name.replace("-", "_")


def judge_hardware(devices: Sequence[PciDevice], kernel: Kernel, file: str) -> tuple[Check, ...]:
    """Return a check for each device that a kernel does not support, and one for all supported devices.

    :param file: the name of the kernel in the checks.
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
    """Return whether a pattern matches every device of a row: each of its fields is ``*`` or the same number."""
    return all(one is None or one == other for one, other in zip(pattern, fields, strict=True))


def overlaps(pattern: Sequence[int | None], fields: Sequence[int | None]) -> bool:
    """Return whether a pattern matches some devices of a row."""
    return all(one is None or other is None or one == other for one, other in zip(pattern, fields, strict=True))


def _unread(kernel: Kernel, file: str) -> Iterator[Check]:
    for problem in kernel.problems:
        yield Check(rule=RULE, file=file, outcome="failed", detail=problem)
