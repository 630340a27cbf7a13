"""List the folders of the artifact store for ``kitten clean``, and remove them.

A local folder is renamed to a hidden name and then emptied, so that a kill leaves no half of a build under a build's
name. In object storage, its document goes first, because a folder without one is no build. Symbolic links are never
followed: their targets do not belong to the store.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from workers.artifacts.reuse import lock_if_unused
from workers.base.errors import CannotRun
from workers.repository.retention import Found, Kind
from workers.results import BuildResult, SourceResult

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^-]*")
_IDENTITY = re.compile(r"[0-9a-f]{32,64}")
_LEFT = re.compile(r"\.[0-9a-f]{32,64}\.(?:(?:[A-Za-z0-9-]+\.)?(?:partial|old)|old\.[0-9]+|[0-9]+|gone)")
"""Hidden names that ``workers.artifacts.put`` and this module give to folders, now and in earlier versions."""
_GROUPS: tuple[tuple[str, Kind, str], ...] = (
    ("builds", "build", "build.json"),
    ("failed", "failed build", "build.json"),
    ("sources", "source", "source.json"),
    ("try/builds", "try-build", "build.json"),
    ("try/failed", "try-build", "build.json"),
    ("try/sources", "try-build", "source.json"),
)
_DOCUMENTS = ("build.json", "source.json")
_LARGEST = 64 << 20
"""Most bytes of a result file that is read."""


class Store:
    """The artifact store at an fsspec URL or path."""

    def __init__(self, url: str) -> None:
        """Find the file system of the URL.

        :raises CannotRun: if no file system supports it.
        """
        import fsspec

        try:
            self._files, self.root = fsspec.url_to_fs(url)
        except (OSError, ValueError, ImportError) as error:
            raise CannotRun(f"cannot read {url}: {error}", "check the address and its credentials") from None
        self.url, self.is_local = url, "://" not in url or url.startswith("file://")

    def found(self) -> Iterator[Found]:
        """Yield every folder of a build or source in the store, and what killed runs left.

        :raises CannotRun: if the store cannot be read.
        """
        try:
            if self.is_local and Path(self.root).is_symlink():
                raise CannotRun(f"{self.root} is a symbolic link", "name the folder itself in site.yaml")
            for group, kind, document in _GROUPS:
                for parent in self._list(group):
                    if self._plain(parent) is None:
                        continue
                    below = f"{group}/{_last(parent)}"
                    for entry in self._list(below):
                        yield self._one(f"{below}/{_last(entry)}", entry, kind, document)
        except (OSError, ValueError, ImportError) as error:
            raise CannotRun(f"cannot read {self.url}: {error}", "check the address and its credentials") from None

    def changed(self, path: str) -> float:
        """Time of the last write to a folder (s since 1970); 0 if it is gone."""
        return max((_time(entry) for entry in self._list(path)), default=0.0)

    def aside(self, found: Found) -> str | None:
        """Hide a folder and return its hidden name, for :meth:`remove`.

        None means that it stays: another process uses it, or wrote to it since the search.

        :raises OSError: if it cannot be renamed.
        :raises CannotRun: if a link took its place.
        """
        if not self.is_local:
            return self._aside_elsewhere(found)
        folder = Path(self.root, found.path)
        if any(place.is_symlink() for place in (folder, folder.parent)):
            raise CannotRun(f"{folder} became a symbolic link", "find out who made it, and remove it")
        with contextlib.ExitStack() as locks:
            free = [locks.enter_context(lock_if_unused(folder / document)) for document in _DOCUMENTS]
            if not all(free) or self.changed(found.path) > found.changed or not folder.is_dir():
                return None
            if folder.name.startswith("."):
                return found.path
            gone = folder.with_name(f".{folder.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            folder.rename(gone)
            hidden = str(gone.relative_to(self.root))
            if self.changed(hidden) > found.changed:  # a build ended at that moment and wrote to it
                gone.rename(folder)
                return None
            return hidden

    def _aside_elsewhere(self, found: Found) -> str | None:
        if self.changed(found.path) > found.changed:
            return None
        for document in _DOCUMENTS:
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(f"{self.root}/{found.path}/{document}")
        return found.path

    def remove(self, path: str, found: Found) -> None:
        """Empty and remove a hidden folder; a folder that another process wrote again in object storage stays.

        :raises OSError: if it cannot be removed.
        """
        if self.is_local:
            with contextlib.suppress(FileNotFoundError):  # a build of the same identity may remove it first
                shutil.rmtree(Path(self.root, path))
        elif self.changed(path) <= found.changed:
            self._files.rm(f"{self.root}/{path}", recursive=True)

    def _one(self, path: str, entry: Mapping[str, Any], kind: Kind, document: str) -> Found:
        if entry["type"] != "directory" or entry.get("islink"):
            return Found(path, "unknown", 0, 0, odd="not a folder that kitten made: a link or a file")
        files = list(self._list(path))
        changed = max((_time(file) for file in (*files, entry)), default=0.0) if files else _time(entry)
        size = sum(int(file.get("size") or 0) for file in files if file["type"] == "file")
        if changed <= 0:
            return Found(path, "unknown", 0, size, odd="this store does not show its age")
        if _LEFT.fullmatch(_last(entry)):
            return Found(path, "leftover", changed, size)
        if self._plain(entry) is None or not _IDENTITY.fullmatch(_last(entry)):
            return Found(path, "unknown", changed, size, odd="not a name that kitten gives")
        known = {_last(file): file for file in files}
        if document not in known:
            return Found(path, "leftover", changed, size)
        return self._described(path, kind, document, known[document], changed, size)

    def _described(
        self, path: str, kind: Kind, document: str, entry: Mapping[str, Any], changed: float, size: int
    ) -> Found:
        result: BuildResult | SourceResult
        try:
            if int(entry.get("size") or 0) > _LARGEST or entry.get("islink"):
                raise ValueError("it is a link, or larger than expected")
            text = self._files.cat_file(f"{self.root}/{path}/{document}").decode()
            result = (SourceResult if document == "source.json" else BuildResult).read(text)
        except ValueError as error:
            return Found(path, kind, changed, size, odd=f"its {document} cannot be understood: {str(error)[:200]}")
        known = Found(
            path,
            kind,
            changed,
            size,
            package=result.package,
            nevr=result.nevr,
            srpm=result.srpm.sha256 if result.srpm else "",
        )
        if isinstance(result, SourceResult):
            return known
        return replace(known, target=result.target, rpms=frozenset(rpm.sha256 for rpm in result.rpms))

    def _list(self, path: str) -> list[dict[str, Any]]:
        """A folder's entries, sorted by name; none if the folder does not exist or is a link."""
        place = f"{self.root}/{path}"
        if self.is_local and any(p.is_symlink() for p in (Path(place), Path(place).parent)):
            return []
        try:
            entries = [e for e in self._files.ls(place, detail=True) if e["name"].rstrip("/") != place.rstrip("/")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(entries, key=lambda entry: str(entry["name"]))

    @staticmethod
    def _plain(entry: Mapping[str, Any]) -> str | None:
        name = _last(entry)
        return name if entry["type"] == "directory" and not entry.get("islink") and _NAME.fullmatch(name) else None


def _last(entry: Mapping[str, Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _time(entry: Mapping[str, Any]) -> float:
    """Time of the last change (s since 1970). fsspec's file systems name it differently; S3 folders have none."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        if isinstance(value := entry.get(key), datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
