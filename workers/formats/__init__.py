"""Readers of the file formats that packages contain. Files may be hostile.

The names in ``__all__`` are the public API, which other projects may import. The modules below are internal and change
without notice.
"""

from workers.base.errors import MalformedError
from workers.formats.dwarf import read_units
from workers.formats.elf import Elf
from workers.formats.facts import Unit
from workers.formats.pe import Pe
from workers.formats.rpm_header import RpmHeader, read_header
from workers.formats.rpm_payload import Entry, unpack

__all__ = ["Elf", "Entry", "MalformedError", "Pe", "RpmHeader", "Unit", "read_header", "read_units", "unpack"]
