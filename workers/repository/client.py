"""Run dnf as a user does, with published repositories: into an empty root, with both signature checks on.

dnf and ``rpm --root`` must run as root: if this process does not, they run in a user namespace
(`workers.base.namespace`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.models import Site, Target
from workers.base import namespace
from workers.base.errors import CannotRun, CheckFailed, MalformedError
from workers.base.run import require, run
from workers.formats.rpm_header import read_header
from workers.repository.placement import published_repositories
from workers.repository.snapshot import Snapshots
from workers.repository.state import named_stage, snapshots_of
from workers.sandbox.bubblewrap import scratch

_PYTHON = "/usr/bin/python3"  # the host's Python has dnf's modules; our virtual environment does not
_NOT_UNPACKED = re.compile(r"Error (?:unpacking|in cpio payload of) rpm package (\S+)")  # within a longer line


def install(
    site: Site, state: Path, target_name: str, packages: Sequence[str] = (), *, stage_name: str = ""
) -> tuple[str, ...]:
    """Install packages of a target with dnf and return the NEVRAs in the root, sorted.

    Scriptlets do not run: on a foreign architecture, no program can run them.

    :param packages: the packages to install; by default all published ones except debuginfo.
    :raises CannotRun: if dnf is missing, nothing is published for the target, or this user cannot be root in a
        namespace.
    :raises CheckFailed: if dnf refuses, with its last lines.
    """
    require("dnf", "dnf")
    try:
        target = site.target(target_name)
    except KeyError as error:
        raise CannotRun(str(error.args[0])) from None
    snapshots = snapshots_of(site, state, named_stage(site, stage_name))
    wanted = tuple(packages) or _everything(snapshots, target)
    with scratch() as folder:
        try:
            return _install(folder, site, target, snapshots.root, wanted)
        except CheckFailed as refusal:
            if why := _change_by_hand(snapshots):
                raise CheckFailed(f"{why}\n{refusal}") from None
            raise


def _change_by_hand(snapshots: Snapshots) -> str:
    """One line about an index that was changed by hand, because dnf refuses it; "" if none was."""
    try:
        if (current := snapshots.current()) is not None:
            current.require_unchanged()
    except CannotRun as error:
        return f"{error.what} → {error.hint}"
    return ""


def _everything(snapshots: Snapshots, target: Target) -> tuple[str, ...]:
    from workers.repository.packages import is_installed, nevra_of_file

    current = snapshots.current()
    names = {
        nevra_of_file(file.name).name
        for (_, name), record in (current.published() if current else {}).items()
        if name == target.name
        for file in record.files
        if is_installed(file.name)
    }
    if not (wanted := tuple(sorted(names))):
        raise CannotRun(f"nothing is published for {target.name}", "kitten publish")
    return wanted


def _install(folder: Path, site: Site, target: Target, published: Path, packages: Sequence[str]) -> tuple[str, ...]:
    layout = site.repositories.layout
    places = {
        repository.name: published
        / layout.root
        / layout.packages.format(repository=repository.name, arch=target.rpm_arch)
        for repository in published_repositories(site, target)
    }
    root = _Root(folder, target, published / f"RPM-GPG-KEY-{site.distribution.name}")
    root.show({name: Source(place) for name, place in places.items()})
    root.dnf("install", packages)
    return root.installed()


@dataclass(frozen=True)
class Source:
    """A repository that dnf may take packages from."""

    folder: Path
    only: tuple[str, ...] = ()
    """Names of the packages that it may take; empty: all."""


def check_life(
    target: Target,
    packages: Sequence[str],
    before: Mapping[str, Path],
    after: Mapping[str, Path],
    key: Path,
) -> tuple[str, ...]:
    """Install, upgrade and remove packages with dnf in one empty root, with both signature checks on.

    First the old versions in ``before`` are installed, as users have them; then the new packages, as upgrades or beside
    them; then all are removed. Scriptlets do not run: on a foreign architecture, no program can run them.

    :param packages: the new packages, each as ``name-version-release.arch``.
    :param before: name → signed repository folder that users have.
    :param after: name → signed repository folder of the new packages; no others are taken from it.
    :param key: the public key of packages and indexes.
    :returns: NEVRAs of the old versions that were installed.
    :raises CannotRun: if dnf is missing, or this user cannot be root in a namespace.
    :raises CheckFailed: if dnf refuses or does something else, with its last lines.
    """
    from config.nevra import Nevra

    require("dnf", "dnf")
    names = tuple(sorted({Nevra.parse(package).name for package in packages}))
    with scratch() as folder:
        root = _Root(folder, target, key)
        root.show({name: Source(place) for name, place in before.items()})
        old = tuple(sorted(set(names) & _names_in(before.values())))
        if old:
            root.dnf("install", old)
        was = root.installed() if old else ()
        root.show(
            {name: Source(place) for name, place in before.items()}
            | {f"{name}-new": Source(place, names) for name, place in after.items()}
        )
        # `install` of an older version would be a downgrade, which users do not do: installed packages are upgraded.
        known = {Nevra.parse(nevra).name for nevra in was}
        for verb, asked in (
            ("upgrade", [p for p in packages if Nevra.parse(p).name in known]),
            ("install", [p for p in packages if Nevra.parse(p).name not in known]),
        ):
            if asked:
                root.dnf(verb, asked)
        there = {_without_epoch(nevra) for nevra in root.installed()}
        if missing := sorted(set(packages) - there):
            raise CheckFailed(f"dnf left out {', '.join(missing)} for {target.name}: a newer version is there")
        root.dnf("remove", names)
        if left := sorted(n for n in root.installed() if Nevra.parse(n).name in names):
            raise CheckFailed(f"dnf left {', '.join(left)} behind when it removed packages for {target.name}")
        return tuple(nevra for nevra in was if Nevra.parse(nevra).name in names)


def _without_epoch(nevra: str) -> str:
    from config.nevra import Nevra

    return Nevra.parse(nevra).file.removesuffix(".rpm")


def _names_in(repositories: Iterable[Path]) -> set[str]:
    from workers.repository.primary import names, repositories_below

    return set(names(repositories_below(repositories).packages))


def _url(path: Path) -> str:
    """The URL of a path: dnf splits options with several values at spaces."""
    return path.absolute().as_uri()


class _Root:
    """An empty root for a target's packages, and dnf's configuration for it."""

    def __init__(self, folder: Path, target: Target, key: Path) -> None:
        self._folder, self._target, self._key = folder, target, key
        self._root, self._repositories = folder / "root", folder / "repositories"
        # Debian's rpm has its database in the user's home; the packages are for systems that have it here.
        (folder / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n", encoding="utf-8")
        (folder / "dnf.conf").write_text("[main]\n", encoding="utf-8")
        (folder / "log").mkdir()
        self._sources: tuple[Source, ...] = ()
        self._environment = {**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"}

    def show(self, sources: Mapping[str, Source]) -> None:
        """Configure these repositories for dnf, and no others."""
        shutil.rmtree(self._repositories, ignore_errors=True)
        self._repositories.mkdir()
        self._sources = tuple(sources.values())
        for name, source in sources.items():
            only = f"includepkgs={','.join(source.only)}\n" if source.only else ""
            (self._repositories / f"{name}.repo").write_text(
                f"[{name}]\nname={name}\nbaseurl={_url(source.folder)}\nenabled=1\n"
                f"gpgcheck=1\nrepo_gpgcheck=1\ngpgkey={_url(self._key)}\n{only}",
                encoding="utf-8",
            )

    def dnf(self, verb: str, packages: Sequence[str]) -> None:
        """Run dnf with a command and packages.

        :raises CheckFailed: if dnf refuses, with its last lines.
        :raises CannotRun: if this user cannot be root in a namespace, or cannot give the packages' files their owners.
        """
        options = {
            "reposdir": self._repositories.name,  # in the working folder: dnf splits a path at spaces
            "cachedir": self._folder / "cache",
            "persistdir": self._folder / "persist",
            "logdir": self._folder / "log",
            "install_weak_deps": "0",
            "clean_requirements_on_remove": "0",
            "protected_packages": "",
            "tsflags": "noscripts",
            "gpgcheck": "1",
            "repo_gpgcheck": "1",
        }
        arch = self._target.rpm_arch
        command: list[str | Path] = [*namespace.as_root(), _PYTHON, Path(__file__).with_name("dnf_for_arch.py"), arch]
        # dnf expects a release version and finds none in an empty root; our repositories do not have it in their URLs.
        command += ["--assumeyes", "--noplugins", "--forcearch", arch, "--releasever", "0"]
        command += ["--config", self._folder / "dnf.conf", "--installroot", self._root]
        command += [f"--setopt={name}={value}" for name, value in options.items()]
        done = run([*command, verb, *packages], cwd=self._folder, env=self._environment, check=False, timeout=600)
        if done.status != 0:
            if cannot := namespace.refusal(done):
                raise cannot
            for package in _NOT_UNPACKED.findall(done.output):
                if not namespace.has_subordinate_ids() and (owners := self._other_owners(package)):
                    raise namespace.no_subordinate_ids(f"{package} has files of {', '.join(owners)}")
            words = [line for line in done.output.splitlines() if line.strip()]
            what = f"dnf refused to {verb} {' '.join(packages)} for {self._target.name}"
            raise CheckFailed(f"{what}:\n" + "\n".join(words[-12:]))

    def _other_owners(self, package: str) -> list[str]:
        """The owners of a package's files, users and groups, except root; sorted."""
        from config.nevra import Nevra

        name = Nevra.parse(package).file
        found: set[str] = set()
        for source in self._sources:
            for file in source.folder.rglob(name):
                with contextlib.suppress(MalformedError):  # dnf does not unpack it for the same reason
                    found |= read_header(file).owners
        return sorted(found - {"root"})

    def installed(self) -> tuple[str, ...]:
        """The NEVRAs in the root's rpm database, sorted; no package file is read."""
        query: list[str | Path] = [
            *namespace.as_root(),
            "rpm",
            "--root",
            self._root,
            "--query",
            "--all",
            "--queryformat",
            "%{NEVRA}\n",
        ]
        names = run(query, env=self._environment).output.split()
        return tuple(sorted(name for name in names if not name.startswith("gpg-pubkey-")))
