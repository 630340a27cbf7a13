"""A private root of apt for one suite and architecture; the host's apt does not change."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.base.errors import CannotRun
from workers.base.run import CommandFailed, Completed, require, run
from workers.sandbox.apt.host import keyring, mirror, paragraphs, whole_number

_TIMEOUT = 1800.0  # s: for one call of apt, also if a slow mirror sends data all the time
_STALL_SECONDS = 30
_WORTH_A_LINE = 10  # MB: a larger download takes so long that the user needs a line about it
_NO_SPACE = "No space left on device"
_LEAST_FREE = 64 * 1024**2  # bytes: with less, apt cannot read its lists and seldom says why
_SOURCES = "etc/parts/debian.sources"

# Messages of apt ("E:"; since apt 3, in some modes "Error:") if index and pool disagree. A 404 on InRelease itself has
# another message: the suite does not exist.
# https://salsa.debian.org/apt-team/apt/-/blob/main/apt-pkg/acquire-item.cc and methods/
_CONTRADICTION = re.compile(
    r"(?m)^(?:[EW]|Error|Warning): "
    r"(.*(?:\s(?:404|429|5\d\d)\s|Hash Sum mismatch|unexpected size|Mirror sync in progress|Splitting up).*)$"
)
_EXPIRED = re.compile(r"(?m)^(?:E|Error): (Release file for .* is expired .*)$")
_COMPLAINT = re.compile(r"(?:E|Error|Err):|(?:W|Warning): (?:GPG error|OpenPGP signature)")


class MirrorDisagrees(CannotRun):
    """Files of the mirror contradict its signed index, or the index is incomplete. Other lists may work."""

    def __init__(self, what: str, hint: str = "", *, passing: bool = True) -> None:
        super().__init__(what, hint)
        self.passing = passing
        """Whether the mirror may be consistent again in some minutes."""


def contradiction(output: str) -> MirrorDisagrees | None:
    """Return the first contradiction between index and files in an output of apt or mmdebstrap, or None."""
    if _NO_SPACE in output:
        return None
    if found := _CONTRADICTION.search(output):
        return MirrorDisagrees(_brief(found[1]))
    if found := _EXPIRED.search(output):
        return MirrorDisagrees(_brief(found[1]), passing=False)
    return None


def _brief(message: str) -> str:
    """Return a message of apt without the server's address and the private folder."""
    message = re.sub(r" \[IP: [^\]]*\]|/\S*/lists/partial/", "", message)
    return re.sub(r"\s+", " ", message).strip()


@dataclass(frozen=True)
class AptRoot:
    """A private root of apt for one suite and architecture, in one folder."""

    folder: Path
    suite: str
    architecture: str

    @property
    def configuration(self) -> Path:
        """Return the configuration file with which any apt tool uses this root (``apt-get -c FILE``)."""
        return self.folder / "apt.conf"

    @property
    def name(self) -> str:
        """Return the name under which the mirror had these lists: the suite, or another name of the same release."""
        return next(paragraphs((self.folder / _SOURCES).read_text()))["Suites"]

    @property
    def lists(self) -> tuple[Path, ...]:
        """Return the files of the signed lists; their names are those of apt in /var/lib/apt/lists."""
        return tuple(
            sorted(path for path in (self.folder / "lists").iterdir() if path.is_file() and path.name != "lock")
        )

    def furnish(self, name: str, *, sources: bool, final: Path | None = None) -> None:
        """Write all files of the root except the lists.

        :param name: the name of the suite on the mirror.
        :param sources: also use the lists of source packages.
        :param final: the folder to which the root's folder will be renamed.
        """
        for part in ("etc/parts", "lists/partial", "archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / _SOURCES).write_text(_sources_text(mirror(), name, keyring(), sources))
        self.configuration.write_text(_configuration_text(final or self.folder, self.architecture))

    def apt(self, tool: str, *arguments: str, cwd: Path | None = None, timeout: float = _TIMEOUT) -> Completed:
        """Run ``apt-get`` or ``apt-cache`` in this root.

        :raises MirrorDisagrees: if files of the mirror contradict its index.
        :raises CannotRun: with apt's message for any other error: no network, an unknown package, a missing key.
        """
        stall = max(1, whole_number("KITTEN_MIRROR_TIMEOUT", _STALL_SECONDS))
        limits = [f"-oAcquire::{scheme}::Timeout={stall}" for scheme in ("http", "https")]
        try:
            argv = [require(tool, "apt"), "-q", "-c", str(self.configuration), *limits, *arguments]
            return run(argv, cwd=cwd, timeout=timeout)
        except CommandFailed as error:
            output = error.done.output
            if found := contradiction(output):
                raise found from None
            words = " ".join(word for word in arguments if not word.startswith("-"))
            call = f"{tool} {words} ({self.suite}, {self.architecture})"
            if _NO_SPACE in output or shutil.disk_usage(self.folder).free < _LEAST_FREE:
                raise CannotRun(
                    f"{call}: no space left on the device of {self.folder.parent}",
                    "free some room and run the same command again: nothing is half done",
                ) from None
            lines = [line for line in output.splitlines() if _COMPLAINT.match(line)]
            message = "; ".join(lines[-2:]) or output.strip()[-300:] or str(error)
            if error.timed_out:
                message = f"did not end within {timeout:.0f} s: {message}"
            raise CannotRun(
                f"{call}: {message}",
                "check the network and the mirror, or use another mirror: export KITTEN_DEBIAN_MIRROR=URL",
            ) from None

    def show(self, package: str) -> Mapping[str, str]:
        """Return the paragraph of the newest version of a binary package.

        :raises CannotRun: if the suite has no such package.
        """
        return next(iter(paragraphs(self.apt("apt-cache", "show", "--no-all-versions", package).output)))

    def closure(self, packages: list[str], status: Path | None = None) -> list[str]:
        """Return these packages and their dependencies, as apt would install them without recommendations.

        :param status: dpkg's status file of a system that has some of them already; None: an empty system.
        :raises CannotRun: if the suite lacks one of them, or apt would have to remove a package of that system.
        """
        # apt's index cache is for one status file. With another one, apt makes the index in memory.
        known = [f"-oDir::State::status={status}", "-oDir::Cache::pkgcache="] if status else []
        done = self.apt("apt-get", "--simulate", "--no-install-recommends", "--no-remove", "install", *known, *packages)
        return re.findall(r"^Inst (\S+)", done.output, re.MULTILINE)

    def download(self, packages: list[str], into: Path) -> list[Path]:
        """Download the .deb files of these packages, verified with the suite's signed lists; return their paths.

        :param into: a folder for these files alone; files of an earlier call are used or removed.
        """
        into.mkdir(parents=True, exist_ok=True)
        # In another folder than "into", because apt leaves out files that the current folder has.
        output = self.apt("apt-get", "download", "--print-uris", *packages, cwd=self.folder / "archives").output
        files = re.findall(r"(?m)^'[^']*' (\S+) (\d+) ", output)
        megabytes = sum(int(size) for _, size in files) / 1e6
        if megabytes >= _WORTH_A_LINE:
            line = f"apt: fetching {len(files)} packages for {self.architecture}, {megabytes:,.0f} MB"
            print(line, flush=True)  # noqa: T201
        self.apt("apt-get", "download", *packages, cwd=into)
        wanted = {into / name for name, _ in files}
        for path in set(into.iterdir()) - wanted:
            path.unlink()
        return sorted(wanted)

    def for_mmdebstrap(self) -> tuple[list[str], str]:
        """Return options and a line of sources.list with which mmdebstrap uses these lists and downloads no others."""
        line = f"deb [signed-by={keyring()}] {mirror()} {self.name} main"
        lists = " ".join(shlex.quote(str(path)) for path in self.lists)
        return [f"--setup-hook=copy-in {lists} /var/lib/apt/lists", "--skip=update"], line


def _sources_text(address: str, suite: str, keys: Path, sources: bool) -> str:
    types = "deb deb-src" if sources else "deb"
    return f"Types: {types}\nURIs: {address}\nSuites: {suite}\nComponents: main\nSigned-By: {keys}\n"


def _configuration_text(folder: Path, architecture: str) -> str:
    """Return the text of apt.conf.

    apt reads it after the host's settings. So the host's proxies and validity rules apply, but its exceptions for
    signatures do not. APT::Sandbox::User is empty, because that user may not read a cache in a home folder. The host's
    update hooks are for the host only. Container images switch apt's caches off; without them, each call takes two
    seconds.
    """
    return f"""#clear APT::Architectures;
#clear APT::Update;
#clear DPkg;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/etc/parts";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
"""
