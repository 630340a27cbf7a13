"""Observe every file of the evidence: in several processes, a large file in parts, and no content twice."""

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

_LARGE = 4 * 1024**2  # bytes; a file of this size or more may be decoded by all processes together
_BATCH = 256  # files between two lines of progress: a kernel has some thousands of modules
_WORTH = 1024**2  # bytes; less than this is read faster than processes start
_SECONDS, _SECONDS_PER_MIB = 60.0, 10.0  # time limit of one file: fifty times what real files take


def level_of(target: Target, path: str, *, firmware: bool) -> str:
    """Return the level for a file: of its folder below glibc-hwcaps, of firmware for EFI files, or of the target."""
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
    :param say: gets a line of progress after each :data:`_BATCH` files.
    :param fresh: read every file again, without the cache.
    :raises CannotRun: if the target's level is unknown, or if a decoder is not installed.
    """
    for name in filter(None, (target.isa_level, target.firmware_isa_level)):
        if name not in LEVELS:
            raise CannotRun(
                f"no decoder knows the level {name!r} of target {target.name}", f"known levels: {', '.join(LEVELS)}"
            )
    looking = _Look(target, evidence, fresh)
    sizes = {item: item.size or item.content.stat().st_size for item in evidence.items}
    # A file that is larger than one process's share of the work is decoded by all processes together. Each other file
    # is one task, the largest first, so that no process has a large file at the end.
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
    """Observes the items of one set of evidence."""

    def __init__(self, target: Target, evidence: Evidence, fresh: bool) -> None:
        self._target = target
        self._evidence = evidence
        self._fresh = fresh
        self._checksum = functools.cache(sha256_of)  # many files share one supplementary file of dwz

    def at(self, item: Item, jobs: int = 1) -> Observed:
        """Observe one item, or load the facts of the same content from the cache."""
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
        """Return the debug file of an item, and the supplementary file into which dwz moved parts of it."""
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
