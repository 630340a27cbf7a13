"""Lists of PCI devices that a kernel must support: ``hardware/*.tsv``, three columns separated by tabs.

``pci_id`` is ``vendor:device[:subvendor:subdevice[:class:subclass]]`` in hexadecimal. A field that is ``_``, ``*``,
empty or absent matches any value. ``driver`` is the module that must claim the device; ``device`` is its name, for
people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from config.problems import ConfigError, Problem, show

FILE = r"^hardware/[A-Za-z0-9][A-Za-z0-9._-]*\.tsv$"
"""Pattern of a list's path in the site's folder, as packages name it."""
_COLUMNS = ["pci_id", "driver", "device"]
_FIELDS = ("vendor", "device", "subvendor", "subdevice", "class", "subclass")
_DIGITS = (4, 4, 4, 4, 2, 2)
_ANY = ("", "_", "*")
_DRIVER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST = 4 << 20  # bytes of a list


@dataclass(frozen=True)
class PciDevice:
    """One row: a pattern for devices (None matches any value), and the driver that must claim them."""

    driver: str
    name: str
    fields: tuple[int | None, ...]
    """Vendor, device, subvendor, subdevice, class, subclass."""
    line: int = 0

    def __str__(self) -> str:
        words = ["any" if v is None else f"{v:0{n}X}" for v, n in zip(self.fields, _DIGITS, strict=True)]
        while words[-1] == "any" and len(words) > 2:
            words.pop()
        return ":".join(words)


def read_list(path: Path, file: str) -> tuple[PciDevice, ...]:
    """Read a list.

    :param file: the name of the list in error messages.
    :raises ConfigError: with every problem of the file and its line.
    """
    try:
        data = path.read_bytes()[: _LARGEST + 1]
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            [Problem(file, 0, "", f"byte 0x{data[error.start]:02x} at {error.start}", "UTF-8 text")]
        ) from None
    except OSError as error:
        raise ConfigError([Problem(file, 0, "", f"{error.strerror or error}", "a readable file")]) from None
    if len(data) > _LARGEST:
        raise ConfigError([Problem(file, 0, "", "a file that is too large", f"at most {_LARGEST} bytes")])
    return parse(text, file)


def parse(text: str, file: str) -> tuple[PciDevice, ...]:
    """Return the rows of a list. The first line that is not empty and no ``#`` comment is the header.

    :raises ConfigError: with every problem and its line.
    """
    lines = [(n, line.split("\t")) for n, line in enumerate(text.splitlines(), 1) if line.strip() and line[0] != "#"]
    if not lines or lines[0][1] != _COLUMNS:
        number, found = (lines[0][0], show("\t".join(lines[0][1]))) if lines else (0, "an empty list")
        raise ConfigError([Problem(file, number, "", found, "the columns pci_id, driver, device, separated by tabs")])
    problems: list[Problem] = []
    devices: dict[tuple[object, ...], PciDevice] = {}
    for number, row in lines[1:]:
        try:
            device = _device(number, row)
        except _WrongError as error:
            problems.append(Problem(file, number, error.column, error.found, error.allowed))
            continue
        if (first := devices.setdefault((device.fields, device.driver), device)) is not device:
            found = f"{device} of {device.driver} twice, first on line {first.line}"
            problems.append(Problem(file, number, "pci_id", found, "each once"))
    if not devices and not problems:
        problems.append(Problem(file, 0, "", "no device", "at least one device"))
    if problems:
        raise ConfigError(problems)
    return tuple(devices.values())


class _WrongError(Exception):
    def __init__(self, column: str, found: str, allowed: str) -> None:
        self.column, self.found, self.allowed = column, found, allowed


def _device(number: int, row: list[str]) -> PciDevice:
    if len(row) != len(_COLUMNS):
        raise _WrongError("", f"{len(row)} columns", "3: pci_id, driver, device, separated by tabs")
    pci_id, driver, name = (word.strip() for word in row)
    if not _DRIVER.fullmatch(driver):
        raise _WrongError("driver", show(driver), "the name of a kernel module")
    words = pci_id.split(":")
    if not 2 <= len(words) <= len(_FIELDS):
        raise _WrongError("pci_id", show(pci_id), "vendor:device[:subvendor:subdevice[:class:subclass]]")
    fields = [_number(*field) for field in zip(words, _FIELDS, _DIGITS, strict=False)]
    fields += [None] * (len(_FIELDS) - len(fields))
    if fields[0] is None:
        raise _WrongError("pci_id", f"{show(pci_id)}, which matches any vendor", "a vendor")
    return PciDevice(driver, name, tuple(fields), number)


def _number(word: str, field: str, digits: int) -> int | None:
    if word in _ANY:
        return None
    if not re.fullmatch(rf"(?:0[xX])?[0-9A-Fa-f]{{1,{digits}}}", word):
        raise _WrongError("pci_id", f"the {field} {show(word)}", f"at most {digits} hexadecimal digits, or * for any")
    return int(word, 16)
