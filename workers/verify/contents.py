"""The ``required-package`` rule: whether users find the required packages in the published repositories.

``repodata`` is read as any client reads it: ``repomd.xml`` names the index and its checksum. Both are read from a
folder or from a URL. :func:`judge_required` is pure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from config.models import Site, Target
from workers.base.errors import CannotRun, MalformedError
from workers.base.files import write_blocks
from workers.formats.compression import unpacked_pieces
from workers.results import Check

RULE = "required-package"
_MAX_REPOMD = 4 << 20
_MAX_PRIMARY = 1 << 30
"""Bytes of an index, compressed or not. The index of EPEL, one of the largest, unpacks to a tenth of this."""
_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte
_ALGORITHMS = {
    "sha": "sha1",
    "sha1": "sha1",
    "sha224": "sha224",
    "sha256": "sha256",
    "sha384": "sha384",
    "sha512": "sha512",
}


@dataclass(frozen=True)
class RepositoryPackages:
    """The names of the binary packages in one repository."""

    repository: str
    address: str
    packages: frozenset[str]


def addresses(site: Site, target: Target, root: str) -> dict[str, str]:
    """Map each repository that users of a target can have to the address of its packages.

    :param root: folder or URL that contains the root folder of the layout (``10-kitten``).
    """
    from workers.repository.placement import published_repositories

    layout = site.repositories.layout
    return {
        repository.name: "/".join(
            (root.rstrip("/"), layout.root, layout.packages.format(repository=repository.name, arch=target.rpm_arch))
        )
        for repository in published_repositories(site, target)
    }


def parse_repository(site: Site, given: str) -> tuple[str, str]:
    """Return the name and address in ``NAME=ADDRESS``, or in an address with a folder that is named as a repository.

    :raises CannotRun: if it names no repository of the site.
    """
    known = [repository.name for repository in site.repositories.repositories]
    name, sign, address = given.partition("=")
    if sign and name in known:
        return name, address
    names = [part for part in PurePosixPath(given).parts if part in known]
    if len(names) == 1:
        return names[0], given
    raise CannotRun(f"{given} names no repository", f"NAME=FOLDER-OR-URL; NAME is one of {', '.join(known)}")


def read_repository(repository: str, address: str) -> RepositoryPackages | None:
    """Read the package names of a repository; return None if it does not exist yet.

    :param address: URL or path of the folder that contains ``repodata/``.
    :raises CannotRun: if the repository cannot be read, or its index differs from what repomd.xml says.
    """
    import createrepo_c

    with tempfile.TemporaryDirectory(prefix="kitten-contents-") as folder:
        repomd = Path(folder, "repomd.xml")
        if _fetch(f"{address.rstrip('/')}/repodata/repomd.xml", repomd, _MAX_REPOMD) is None:
            return None
        try:
            records = {record.type: record for record in createrepo_c.Repomd(str(repomd)).records}
        except (createrepo_c.CreaterepoCError, OSError, ValueError) as error:
            raise _damaged(address, f"repomd.xml: {error}") from None
        record = records.get("primary")
        href = PurePosixPath(record.location_href or "") if record else PurePosixPath()
        if record is None or href.is_absolute() or ".." in href.parts or not href.name:
            raise _damaged(address, "repomd.xml names no primary index inside the repository")
        primary = Path(folder, href.name)
        if not (algorithm := _ALGORITHMS.get(record.checksum_type)):
            raise _damaged(address, f"repomd.xml uses the checksum {record.checksum_type}")
        digest = _fetch(f"{address.rstrip('/')}/{href}", primary, _MAX_PRIMARY, algorithm)
        if digest is None or digest != record.checksum:
            raise _damaged(address, f"{href} is {'missing' if digest is None else 'not what repomd.xml says'}")
        return RepositoryPackages(repository, address, frozenset(_names(address, _unpacked(address, primary))))


def _fetch(address: str, into: Path, most: int, algorithm: str = "sha256") -> str | None:
    """Copy a file and return its checksum; return None if the file does not exist."""

    def limited() -> Iterator[bytes]:
        size = 0
        for piece in _pieces(address):
            size += len(piece)
            if size > most:
                raise CannotRun(f"{address} is larger than {most} bytes", "this is no package index; check the address")
            yield piece

    try:
        return write_blocks(limited(), into, algorithm)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, ImportError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise CannotRun(f"{address} cannot be read: {first}", "check the address and the network") from None


def _pieces(address: str) -> Iterator[bytes]:
    """Yield the bytes of a file as they are stored: what a server calls an encoding is the compression of the index.

    :raises OSError: if the file cannot be read.
    """
    if not address.startswith(("http://", "https://")):
        import fsspec

        with fsspec.open(address, "rb") as source:
            while piece := source.read(_CHUNK):
                yield piece
        return
    import requests
    import urllib3

    with requests.get(address, stream=True, timeout=_TIMEOUT, headers={"Accept-Encoding": "identity"}) as answer:
        if answer.status_code == requests.codes.not_found:
            raise FileNotFoundError(address)
        answer.raise_for_status()
        try:
            yield from answer.raw.stream(_CHUNK, decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(str(error)) from None


def _unpacked(address: str, primary: Path) -> Path:
    """Unpack the index to plain XML, with a limit on its size: createrepo_c, which reads it next, has no limit."""
    plain = primary.with_name("plain.xml")
    try:
        with primary.open("rb") as packed, plain.open("wb") as copy:
            for piece in unpacked_pieces(packed, primary.name, _MAX_PRIMARY):
                copy.write(piece)
    except MalformedError as error:
        raise _damaged(address, f"{primary.name}: {error}") from None
    return plain


def _names(address: str, primary: Path) -> set[str]:
    import createrepo_c

    names: set[str] = set()

    def keep(package: createrepo_c.Package) -> bool:
        if package.arch != "src":
            names.add(package.name)
        return True

    try:
        createrepo_c.xml_parse_primary(str(primary), pkgcb=keep, do_files=False)
    except (createrepo_c.CreaterepoCError, OSError, ValueError) as error:
        raise _damaged(address, f"{primary.name}: {error}") from None
    return names


def _damaged(address: str, why: str) -> CannotRun:
    return CannotRun(
        f"{address} is no complete repository: {' '.join(why.split())}", "publish it again, or use another mirror"
    )


def judge_required(
    site: Site, target: Target, repositories: Sequence[RepositoryPackages], absent: Mapping[str, str]
) -> tuple[Check, ...]:
    """Return a check for each package that users of the target must find. A failed one names the repository it is in.

    :param absent: repository → address, for repositories that do not exist yet.
    """
    by_repository: dict[str, set[str]] = {}
    for one in repositories:
        by_repository.setdefault(one.repository, set()).update(one.packages)
    required = site.required_of(target)
    if not required:
        detail = f"nothing was checked: repositories.yaml requires no package of {target.name}"
        return (Check(rule=RULE, file="", outcome="failed", detail=detail),)
    checks = []
    for repository, package in required:
        file = f"{repository}: {package}"
        if package in by_repository.get(repository, ()):
            checks.append(Check(rule=RULE, file=file, outcome="passed"))
            continue
        if repository not in by_repository and repository not in absent:
            checks.append(Check(rule=RULE, file=file, outcome="skipped", reason="repository-not-given"))
            continue
        detail = _suggestion(site, repository, package, by_repository, absent)
        checks.append(Check(rule=RULE, file=file, outcome="failed", detail=detail))
    if all(check.outcome == "skipped" for check in checks):
        detail = "nothing was checked: repositories.yaml requires no package of these repositories"
        checks.append(Check(rule=RULE, file="", outcome="failed", detail=detail))
    return tuple(sorted(checks, key=lambda check: check.outcome != "failed"))


def _suggestion(
    site: Site, repository: str, package: str, found: Mapping[str, set[str]], absent: Mapping[str, str]
) -> str:
    """What is wrong with a required package that is not where it must be, and what to do."""
    if elsewhere := sorted(name for name, packages in found.items() if package in packages):
        source = next((p.name for p in site.packages if package in (p.name, *p.binaries, *p.placement)), "NAME")
        how = f"placement: {{{package}: {repository}}} in packages/{source}.yaml, then publish it again"
        return f"{package} is in {', '.join(elsewhere)}, wanted in {repository}: {how}"
    if repository not in found:
        return f"no repository {repository} at {absent[repository]}: nothing was published to it yet"
    everything = set().union(*found.values())
    if near := get_close_matches(package, everything, n=1, cutoff=0.85):
        return f"no repository has {package}; is its name {near[0]} now?"
    builder = next((p.name for p in site.packages if package in (p.name, *p.binaries, *p.placement)), "")
    how = f"kitten publish a build of {builder}" if builder else "no package of the site is known to build it"
    return f"no repository has {package}: {how}"
