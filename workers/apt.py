"""Debian packages of any architecture and suite through the host's own apt: its mirror, keyring and proxy.

A private root holds its own lists, so that no foreign architecture and no other suite is ever added to the host.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from workers import cache
from workers.errors import CannotRun
from workers.run import CommandFailed, Completed, require, run

_LISTS_FRESH_SECONDS = 24 * 3600
_DOWNLOAD_TIMEOUT = 1800.0
_ALIASES = ("stable", "oldstable", "testing")  # under which a mirror serves some release as well
_PAUSES_SECONDS = (15, 30, 60, 120, 240)


def paragraphs(text: str) -> Iterator[Mapping[str, str]]:
    """The paragraphs of a Debian control file (Packages, Sources, apt's index targets); continuation lines are kept."""
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        last = ""
        for line in block.splitlines():
            if line[:1] in " \t" and last:
                fields[last] += "\n" + line.strip()
            elif ":" in line:
                last, value = line.split(":", 1)
                fields[last] = value.strip()
        if fields:
            yield fields


def mirror_of(index_targets: str) -> str | None:
    """The Debian mirror that ``apt-get indextargets`` speaks of: the first main archive whose origin is Debian."""
    for target in paragraphs(index_targets):
        main_archive = target.get("Label", "Debian") == "Debian" and target.get("Component") == "main"
        if target.get("Origin") == "Debian" and main_archive:
            return target["Repo-URI"].rstrip("/")
    return None


def mirror() -> str:
    """The mirror to use: ``$KITTEN_DEBIAN_MIRROR``, else the one the host's apt uses, else mmdebstrap's own (on Ubuntu).

    :raises CannotRun: on a host without apt, or where none of them names a mirror.
    """
    if chosen := os.environ.get("KITTEN_DEBIAN_MIRROR"):
        return chosen.rstrip("/")
    if found := mirror_of(run([require("apt-get", "apt"), "indextargets"]).output):
        return found
    script = Path(require("mmdebstrap", "mmdebstrap")).read_text(errors="replace")
    if default := re.search(r"""\$mirror\s*=\s*['"](https?://[^'"]+)['"]""", script):
        return default[1].rstrip("/")
    raise CannotRun("no mirror of Debian's packages is known on this host", "export KITTEN_DEBIAN_MIRROR=URL")


def keyring() -> Path:
    """Debian's archive keys on this host.

    :raises CannotRun: where they are not installed.
    """
    for name in ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg"):
        if (path := Path("/usr/share/keyrings") / name).is_file():
            return path
    raise CannotRun("Debian's archive keys are not installed", "apt-get install debian-archive-keyring")


@dataclass(frozen=True)
class AptRoot:
    """A private apt: one suite of one architecture, in a folder of its own."""

    folder: Path
    suite: str
    architecture: str

    @property
    def configuration(self) -> Path:
        """The file that turns the host's apt into this one (``apt-get -c``); usable with any apt tool."""
        return self.folder / "apt.conf"

    def apt(self, tool: str, *arguments: str, cwd: Path | None = None) -> Completed:
        """Run ``apt-get`` or ``apt-cache`` in this root.

        :raises CannotRun: with apt's own words: no network, unknown package, a key that is missing.
        """
        try:
            argv = [require(tool, "apt"), "-q", "-c", str(self.configuration), *arguments]
            return run(argv, cwd=cwd, timeout=_DOWNLOAD_TIMEOUT)
        except CommandFailed as error:
            words = [line for line in error.done.output.splitlines() if line.startswith(("E:", "Err:"))]
            said = "; ".join(words[-2:]) or error.done.output.strip()[-300:] or str(error)
            call = [argument for argument in arguments if not argument.startswith("-")]
            raise CannotRun(
                f"{tool} {' '.join(call)} ({self.suite}, {self.architecture}): {said}",
                f"check the network and the mirror: {tool} -c {self.configuration} {call[0]}",
            ) from None

    def show(self, package: str) -> Mapping[str, str]:
        """The newest version's paragraph of a binary package.

        :raises CannotRun: when the suite has no such package.
        """
        return next(iter(paragraphs(self.apt("apt-cache", "show", "--no-all-versions", package).output)))

    def closure(self, packages: list[str], status: Path | None = None) -> list[str]:
        """These packages and all they depend on, as apt would install them without recommendations.

        :param status: dpkg's status file of a system that holds some of them already; none: an empty system.
        :raises CannotRun: when the suite lacks one of them, or when a package of that system would have to go.
        """
        # apt's cached index speaks of one status file: of another, it is made in memory.
        known = [f"-oDir::State::status={status}", "-oDir::Cache::pkgcache="] if status else []
        done = self.apt(
            "apt-get", "--simulate", "--no-install-recommends", "--no-remove", "install", *known, *packages
        )
        return re.findall(r"^Inst (\S+)", done.output, re.MULTILINE)

    def download(self, packages: list[str], into: Path) -> list[Path]:
        """Fetch the .deb files of these packages, verified against the suite's signed lists, into an empty folder."""
        into.mkdir(parents=True, exist_ok=True)
        self.apt("apt-get", "download", *packages, cwd=into)
        return sorted(into.glob("*.deb"))


def private_root(suite: str, architecture: str, *, sources: bool = False, newer_than: float = 0.0) -> AptRoot:
    """The private root of a suite and architecture, its lists not older than a day.

    :param sources: with the lists of source packages as well (``apt-get source --download-only``).
    :param newer_than: seconds since 1970; lists that were fetched before are fetched again.
    :raises CannotRun: no apt, no keys, no network.
    """
    folder = cache.root() / "apt" / f"{suite}-{architecture}{'-sources' if sources else ''}"
    root = AptRoot(folder, suite, architecture)
    address, keys = mirror(), keyring()
    with cache.locked(folder.with_name(f".{folder.name}.lock")):
        for name in ("etc/parts", "lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        texts = {name: _sources_text(address, name, keys, sources) for name in (suite, *_ALIASES)}
        file, stamp = folder / "etc" / "parts" / "debian.sources", folder / "updated"
        changed = _write(root.configuration, _configuration_text(folder, architecture))
        changed |= not file.exists() or file.read_text() not in texts.values()
        oldest = max(newer_than, time.time() - _LISTS_FRESH_SECONDS)
        if changed or not stamp.exists() or stamp.stat().st_mtime < oldest:
            known = stamp.exists() and not changed
            before = file.read_text() if known else ""
            try:
                _update(root, file, texts)
                stamp.touch()
            except CannotRun as error:
                if not known:
                    raise
                file.write_text(before)
                _say(f"the lists of {suite} for {architecture} stay as they were: {error.what}")
    return root


def _update(root: AptRoot, file: Path, texts: Mapping[str, str]) -> None:
    """Fetch the lists.

    A mirror that is being updated itself contradicts its own index for some minutes, and what caches it for longer. That is
    worth a wait; but under another name of the same release it may serve an index that is whole, if older.

    :param file: where the sources stand.
    :param texts: name of a suite → the sources of that name; the first is the suite's own.
    """
    for number, pause in enumerate((*_PAUSES_SECONDS, None)):
        file.write_text(texts[root.suite])
        try:
            root.apt("apt-get", "update", "--error-on=any")
            return
        except CannotRun as error:
            if "Mirror sync in progress" not in error.what:
                raise
            if number == 0 and _updated_by_another_name(root, file, texts):
                return
            if pause is None:
                raise
            _say(f"the mirror is being updated ({root.suite}, {root.architecture}); trying again in {pause} s")
            time.sleep(pause)


def _updated_by_another_name(root: AptRoot, file: Path, texts: Mapping[str, str]) -> bool:
    for name in _ALIASES:
        file.write_text(texts[name])
        try:
            root.apt("apt-get", "update", "--error-on=any")
            found = root.apt("apt-get", "indextargets", "--format", "$(CODENAME)").output.split()
        except CannotRun:
            continue
        if found and set(found) == {root.suite}:  # signed: it is this release that now has that name
            _say(f"the mirror contradicts itself about {root.suite} for {root.architecture}; as {name} it does not")
            return True
    return False


def _say(text: str) -> None:
    print(f"apt: {text}", flush=True)  # noqa: T201 - progress for people


def _write(path: Path, text: str) -> bool:
    """Write the file if that changes it."""
    if path.exists() and path.read_text() == text:
        return False
    path.write_text(text)
    return True


def _sources_text(address: str, suite: str, keys: Path, sources: bool) -> str:
    types = "deb deb-src" if sources else "deb"
    return f"Types: {types}\nURIs: {address}\nSuites: {suite}\nComponents: main\nSigned-By: {keys}\n"


def _configuration_text(folder: Path, architecture: str) -> str:
    """Read after the host's own settings, so that proxies and validity rules of the host stay in force.

    apt's sandbox user may not be able to read a cache in somebody's home; the host's update hooks are none of ours.
    """
    return f"""#clear APT::Architectures;
#clear APT::Update;
#clear DPkg;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/etc/parts";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
Acquire::Retries "3";
"""
