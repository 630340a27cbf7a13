"""Every file of the evidence, observed: by several processes, large files in parts, and none that was read before."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from config.models import Target
from workers.base.errors import CannotRun, MalformedError
from workers.base.files import sha256_of
from workers.formats.dwarf import supplementary_link
from workers.formats.elf import MAGIC, Elf
from workers.formats.facts import FileFacts
from workers.formats.pe import MAGIC as PE_MAGIC
from workers.formats.traits import BUILD_FOLDERS
from workers.verify import facts_cache
from workers.verify.evidence import Evidence, Item, digest, map_file
from workers.verify.isa import decoder
from workers.verify.isa.levels import LEVELS
from workers.verify.observe import Debug, observe
from workers.verify.parallel import spread, time_limit
from workers.verify.promise import Observed

_LARGE = 4 * 1024**2  # bytes; a file from here on may be decoded by all processes together
_BATCH = 256  # files between two words on how far it is: a kernel has some thousands of modules
_WORTH = 1024**2  # bytes; less than this is read sooner than processes are made for it
_SECONDS, _SECONDS_PER_MIB = 60.0, 10.0  # what one file may take: fifty times what real ones do


def level_of(target: Target, path: str, *, firmware: bool) -> str:
    """The level a file is held against: its folder's below glibc-hwcaps, the firmware's of an EFI file, the target's."""
    parts = PurePosixPath(path).parts
    if "glibc-hwcaps" in parts[:-1]:
        folder = parts[parts.index("glibc-hwcaps") + 1]
        for level in target.architecture.levels:
            if level.hwcaps == folder:
                return level.name
    if firmware and target.firmware_isa_level:
        return target.firmware_isa_level
    return target.isa_level


def look(
    target: Target, evidence: Evidence, jobs: int, say: Callable[[str], None], *, fresh: bool = False
) -> tuple[Observed, ...]:
    """Observe every item.

    :param jobs: processes to use.
    :param say: told how far it is, of very many files.
    :param fresh: read everything, whatever is remembered.
    :raises CannotRun: when the target's level is unknown, or a decoder is not installed.
    """
    for name in filter(None, (target.isa_level, target.firmware_isa_level)):
        if name not in LEVELS:
            raise CannotRun(
                f"no decoder knows the level {name!r} of target {target.name}", f"known are: {', '.join(LEVELS)}"
            )
    looking = _Look(target, evidence, fresh)
    sizes = {item: item.size or item.content.stat().st_size for item in evidence.items}
    # A file that is more than a process's share of the work is decoded by all of them together. The others are one task
    # each, the largest first, so that no process is left with a large one at the end.
    share = max(_LARGE, sum(sizes.values()) // jobs)
    found = {item: looking.at(item, jobs) for item, size in sizes.items() if size > share}
    rest = sorted((item for item in sizes if item not in found), key=lambda item: -sizes[item])
    jobs = jobs if sum(sizes[item] for item in rest) > _WORTH else 1
    for first in range(0, len(rest), _BATCH):
        batch = rest[first : first + _BATCH]
        found |= dict(zip(batch, spread(looking.at, batch, jobs), strict=True))
        if len(rest) > _BATCH:
            say(f"{len(found):,} of {len(sizes):,} files")
    facts_cache.remove_old()
    return tuple(found[item] for item in evidence.items)


class _Look:
    def __init__(self, target: Target, evidence: Evidence, fresh: bool) -> None:
        self._target = target
        self._evidence = evidence
        self._fresh = fresh
        self._checksum = functools.cache(sha256_of)  # what dwz moved out belongs to many files

    def at(self, item: Item, jobs: int = 1) -> Observed:
        """Observe one item, or recall what was observed of the same content."""
        data = map_file(item.content, item.offset, item.size)
        firmware = bytes(data[:2]) == PE_MAGIC
        level = LEVELS[level_of(self._target, item.path, firmware=firmware)]
        size_mib = len(data) / 1024**2
        try:
            with time_limit(_SECONDS + _SECONDS_PER_MIB * size_mib, item.name):
                debug = self._debug(data, firmware)
                checksums = [digest(item), *map(self._checksum, debug)]
                key = facts_cache.key(level=level.name, contents=" ".join(checksums), decoder=decoder(level.machine))
                facts = None if self._fresh else facts_cache.load(key)
                if facts is None:
                    files = [Elf(map_file(path)) for path in debug]
                    own = Debug(*files) if files else None
                    facts = observe(data, level, own, BUILD_FOLDERS, jobs)
                    facts_cache.store(key, facts)
        except MalformedError as error:
            return Observed(item, _unreadable(item, str(error), self._target), level.name)
        except MemoryError:
            return Observed(item, _unreadable(item, "it does not fit into memory", self._target), level.name)
        return Observed(item, facts, level.name, bool(debug) or facts.has_debug_info)

    def _debug(self, data: memoryview, firmware: bool) -> list[Path]:
        """The file's debug file, and what dwz moved out of that."""
        if firmware or bytes(data[:4]) != MAGIC or not self._evidence.debug:
            return []
        path = self._evidence.debug.get(Elf(data).build_id)
        if path is None:
            return []
        link = supplementary_link(Elf(map_file(path)))
        other = self._evidence.supplementary.get(PurePosixPath(link.path).name) if link else None
        return [path, other] if other else [path]


def _unreadable(item: Item, why: str, target: Target) -> FileFacts:
    kind = "efi" if item.path.endswith(".efi") else "elf"
    return FileFacts(kind, target.elf_machine, "", True, problems=(why,))
