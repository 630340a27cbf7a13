"""The metadata of a compose: composeinfo, rpms, images and .treeinfo by productmd, and CHECKSUM files.

It is in ``metadata/`` of the distribution's root (``10-kitten``), where
``productmd.compose.Compose(FOLDER-OF-THE-COMPOSE)`` finds it. Its paths are relative to that root.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from config.models import Site
from config.nevra import is_debug
from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.repository.packages import nevra_of
from workers.repository.placement import published_repositories
from workers.repository.protocols import IndexedPackage

METADATA = "metadata"
_INSTALL = ("BaseOS", "AppStream")
"""The tree that a user gives to the installer of Enterprise Linux, and the repository that the installer adds."""
# File ending → (productmd type, format). For an .iso file, see _kind.
_KINDS = {
    ".qcow2": ("qcow2", "qcow2"),
    ".raw.xz": ("raw-xz", "raw.xz"),
    ".raw": ("raw", "raw"),
    ".tar.xz": ("container", "tar.xz"),
}


@dataclass(frozen=True)
class Release:
    """The distribution's release, and the number of its compose."""

    name: str
    short: str
    version: str
    date: str
    """YYYYMMDD, UTC."""
    respin: int
    """Number of the compose on that day, from 0."""
    made: int
    """Seconds since 1970."""

    @property
    def id(self) -> str:
        """Return the ID in productmd's form: ``kitten-10-20260801.0``."""
        return f"{self.short}-{self.version}-{self.date}.{self.respin}"


@dataclass(frozen=True)
class ImageFile:
    """One file below ``isos/``, ``live/`` or ``cloud/``."""

    path: str
    """Below the distribution's root: ``isos/x86_64/boot.iso``."""
    size: int
    """Bytes."""
    mtime: int
    """Nanoseconds since 1970."""
    inode: int
    sha256: str


def write(
    tree: Path, site: Site, release: Release, indexes: Mapping[str, list[IndexedPackage]], images: Iterable[ImageFile]
) -> list[Path]:
    """Write all metadata into a compose's tree; return the CHECKSUM files.

    :param indexes: folder → packages (createrepo_c), for each repository of the compose.
    """
    import productmd.common

    images = tuple(images)
    # Only the distribution's modified productmd knows all of our architectures.
    productmd.common.RPM_ARCHES.extend(
        t.rpm_arch for t in site.targets if t.rpm_arch not in productmd.common.RPM_ARCHES
    )
    folder = tree / METADATA
    folder.mkdir()
    _composeinfo(site, release, indexes).dump(str(folder / "composeinfo.json"))
    _rpms(site, release, indexes).dump(str(folder / "rpms.json"))
    _images(site, release, images).dump(str(folder / "images.json"))
    _treeinfos(tree, site, release, indexes)
    (tree / "COMPOSE_ID").write_text(release.id + "\n", encoding="ascii")
    return _checksums(tree, images)


def _with_compose(thing: Any, release: Release) -> Any:
    thing.compose.id, thing.compose.date, thing.compose.respin = release.id, release.date, release.respin
    thing.compose.type = "production"
    return thing


def _composeinfo(site: Site, release: Release, indexes: Mapping[str, list[IndexedPackage]]) -> Any:
    from productmd.composeinfo import ComposeInfo, Variant

    info = _with_compose(ComposeInfo(), release)
    info.release.name, info.release.short, info.release.version = release.name, release.short, release.version
    info.release.type = "ga"
    layout = site.repositories.layout
    for repository, arches in _arches(site, indexes).items():
        variant = Variant(info)
        variant.id, variant.uid, variant.name = repository.replace("-", ""), repository, repository
        variant.type, variant.arches = "variant", set(arches)
        for arch in arches:
            kinds = (("", layout.packages), ("debug_", layout.debuginfo), ("source_", layout.source))
            for kind, template in kinds:
                if (place := template.format(repository=repository, arch=arch)) in indexes:
                    getattr(variant.paths, f"{kind}tree" if kind else "os_tree")[arch] = place
                    getattr(variant.paths, f"{kind}repository")[arch] = place
                    getattr(variant.paths, f"{kind}packages")[arch] = f"{place}/Packages"
        info.variants.add(variant)
    return info


def _arches(site: Site, indexes: Mapping[str, list[IndexedPackage]]) -> dict[str, list[str]]:
    """Return the architectures of each repository in the compose."""
    arches: dict[str, list[str]] = {}
    for target in site.targets:
        for repository in published_repositories(site, target):
            if site.repositories.layout.packages.format(repository=repository.name, arch=target.rpm_arch) in indexes:
                arches.setdefault(repository.name, []).append(target.rpm_arch)
    return arches


def _rpms(site: Site, release: Release, indexes: Mapping[str, list[IndexedPackage]]) -> Any:
    from productmd.rpms import Rpms

    rpms, layout = _with_compose(Rpms(), release), site.repositories.layout
    sources: dict[str, tuple[str, IndexedPackage | None]] = {
        PurePosixPath(package.location_href).name: (f"{folder}/{package.location_href}", package)
        for folder, packages in indexes.items()
        for package in packages
        if package.arch == "src"
    }
    for repository, arches in _arches(site, indexes).items():
        for arch in arches:
            for template in (layout.packages, layout.debuginfo):
                folder = template.format(repository=repository, arch=arch)
                for package in indexes.get(folder, ()):
                    # The epoch of a source package outside the compose is unknown; nearly all have 0.
                    path, source = sources.get(file := _source_file(package), ("", None))
                    of = _nevra(source) if source else _source_nevra(file)
                    kind = "debug" if is_debug(package.name) else "binary"
                    rpms.add(repository, arch, _nevra(package), f"{folder}/{package.location_href}", None, kind, of)
                    if source:
                        rpms.add(repository, arch, of, path, None, "source")
    return rpms


def _nevra(package: IndexedPackage) -> str:
    nevra = nevra_of(package)
    return f"{nevra.name}-{nevra.epoch or 0}:{nevra.version}-{nevra.release}.{nevra.arch}"


def _source_file(package: IndexedPackage) -> str:
    if not package.rpm_sourcerpm:
        raise CannotRun(f"the index names no source package of {package.name}", "build it again and publish it")
    return package.rpm_sourcerpm


def _source_nevra(file: str) -> str:
    name, version, release = file.removesuffix(".src.rpm").rsplit("-", 2)
    return f"{name}-0:{version}-{release}.src"


def _images(site: Site, release: Release, files: Iterable[ImageFile]) -> Any:
    from productmd.images import Image, Images

    images = _with_compose(Images(), release)
    arches = sorted({target.rpm_arch for target in site.targets}, key=len, reverse=True)
    for file in files:
        path = PurePosixPath(file.path)
        arch = next(
            (a for a in arches if a in path.parts or re.search(rf"(^|[-_.]){re.escape(a)}([-_.]|$)", path.name)), None
        )
        kind = _kind(path)
        if arch is None or kind is None:
            continue  # such a file is only in the CHECKSUM file
        image = Image(images)
        image.path, image.size, image.mtime, image.arch = file.path, file.size, file.mtime // 10**9, arch
        image.type, image.format = kind
        image.disc_number = image.disc_count = 1
        image.bootable = image.format == "iso"
        image.subvariant = path.name.removesuffix(f".{image.format}")
        image.checksums = {"sha256": file.sha256}
        images.add(_INSTALL[0], arch, image)
    return images


def _kind(path: PurePosixPath) -> tuple[str, str] | None:
    if path.name.endswith(".iso"):
        if path.parts[0] == "live":
            return "live", "iso"
        return ("boot" if "boot" in path.name.lower() else "dvd"), "iso"
    return next((kind for ending, kind in _KINDS.items() if path.name.endswith(ending)), None)


def _treeinfos(tree: Path, site: Site, release: Release, indexes: Mapping[str, list[IndexedPackage]]) -> None:
    """Write .treeinfo of each tree for installers. It names no boot images, because the trees have none."""
    from productmd.treeinfo import TreeInfo, Variant

    template = site.repositories.layout.packages
    for target in site.targets:
        arch = target.rpm_arch
        folders = {name: template.format(repository=name, arch=arch) for name in _INSTALL}
        if (base := folders[_INSTALL[0]]) not in indexes:
            continue
        info = TreeInfo()
        info.release.name, info.release.short, info.release.version = release.name, release.short, release.version
        info.tree.arch, info.tree.build_timestamp, info.tree.platforms = arch, release.made, {arch}
        for name, folder in folders.items():
            if folder not in indexes:
                continue
            variant = Variant(info)
            variant.id = variant.uid = variant.name = name
            variant.type = "variant"
            up = "../" * len(PurePosixPath(base).parts)
            variant.paths.repository = "." if folder == base else f"{up}{folder}"
            variant.paths.packages = "Packages" if folder == base else f"{up}{folder}/Packages"
            info.variants.add(variant)
        info.dump(str(tree / base / ".treeinfo"))


def checksum_line(name: str, sha256: str) -> str:
    """Return a line of a CHECKSUM file that ``sha256sum --check`` can read."""
    return f"SHA256 ({name}) = {sha256}\n"


def _checksums(tree: Path, images: Iterable[ImageFile]) -> list[Path]:
    texts: dict[Path, str] = {}
    for file in images:
        path = tree / file.path
        texts[path.parent] = texts.get(path.parent, "") + checksum_line(path.name, file.sha256)
    for path in sorted((tree / METADATA).iterdir()):
        line = checksum_line(path.name, sha256_of(path))
        texts[path.parent] = texts.get(path.parent, "") + line
    for folder, text in texts.items():
        (folder / "CHECKSUM").write_text(text, encoding="utf-8")
    return [folder / "CHECKSUM" for folder in sorted(texts)]
