"""A private root of apt: one suite of one architecture. No foreign architecture and no other suite is added to the host."""

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

_TIMEOUT = 1800.0  # s: of one call of apt, and so the bound on a mirror that sends little by little
_STALL_SECONDS = 30
_WORTH_A_LINE = 10  # MB: a larger download takes long enough for people to wonder
_NO_SPACE = "No space left on device"
_LEAST_FREE = 64 * 1024**2  # bytes; with less, apt cannot even read its lists, and seldom says why
_SOURCES = "etc/parts/debian.sources"

# Messages of apt (E:, since apt 3 in some modes Error:) when index and pool do not agree. A 404 on InRelease itself is another
# message: no such suite.
# https://salsa.debian.org/apt-team/apt/-/blob/main/apt-pkg/acquire-item.cc and methods/
_CONTRADICTION = re.compile(
    r"(?m)^(?:[EW]|Error|Warning): (.*(?:\s(?:404|429|5\d\d)\s|Hash Sum mismatch|unexpected size|Mirror sync in progress|Splitting up).*)$"
)
_EXPIRED = re.compile(r"(?m)^(?:E|Error): (Release file for .* is expired .*)$")
_COMPLAINT = re.compile(r"(?:E|Error|Err):|(?:W|Warning): (?:GPG error|OpenPGP signature)")


class MirrorDisagrees(CannotRun):
    """The files of the mirror contradict its signed index, or the index is not whole. Another view of the mirror may help."""

    def __init__(self, what: str, hint: str = "", *, passing: bool = True) -> None:
        super().__init__(what, hint)
        self.passing = passing
        """Whether it may be over in some minutes."""


def contradiction(output: str) -> MirrorDisagrees | None:
    """The first contradiction between index and files in the output of an apt tool or of mmdebstrap, if there is one."""
    if _NO_SPACE in output:
        return None
    if found := _CONTRADICTION.search(output):
        return MirrorDisagrees(_brief(found[1]))
    if found := _EXPIRED.search(output):
        return MirrorDisagrees(_brief(found[1]), passing=False)
    return None


def _brief(words: str) -> str:
    """A message of apt without the server's address and without its private folder."""
    words = re.sub(r" \[IP: [^\]]*\]|/\S*/lists/partial/", "", words)
    return re.sub(r"\s+", " ", words).strip()


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

    @property
    def name(self) -> str:
        """The name under which the mirror served these lists: the suite, or another name of the same release."""
        return next(paragraphs((self.folder / _SOURCES).read_text()))["Suites"]

    @property
    def lists(self) -> tuple[Path, ...]:
        """The files of the signed lists, named as apt names them in /var/lib/apt/lists."""
        return tuple(
            sorted(path for path in (self.folder / "lists").iterdir() if path.is_file() and path.name != "lock")
        )

    def furnish(self, name: str, *, sources: bool, final: Path | None = None) -> None:
        """Write all files of the root but the lists.

        :param name: under which the mirror serves the suite.
        :param sources: with the lists of source packages as well.
        :param final: the folder that the root's folder is about to become.
        """
        for part in ("etc/parts", "lists/partial", "archives/partial"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / _SOURCES).write_text(_sources_text(mirror(), name, keyring(), sources))
        self.configuration.write_text(_configuration_text(final or self.folder, self.architecture))

    def apt(self, tool: str, *arguments: str, cwd: Path | None = None, timeout: float = _TIMEOUT) -> Completed:
        """Run ``apt-get`` or ``apt-cache`` in this root.

        :raises MirrorDisagrees: if what the mirror serves contradicts its index.
        :raises CannotRun: with apt's own words: no network, unknown package, a key that is missing.
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
            call = f"{tool} {' '.join(word for word in arguments if not word.startswith('-'))} ({self.suite}, {self.architecture})"
            if _NO_SPACE in output or shutil.disk_usage(self.folder).free < _LEAST_FREE:
                raise CannotRun(
                    f"{call}: no space left on the device of {self.folder.parent}",
                    "free some room and run the same command again: nothing is half done",
                ) from None
            lines = [line for line in output.splitlines() if _COMPLAINT.match(line)]
            words = "; ".join(lines[-2:]) or output.strip()[-300:] or str(error)
            if error.timed_out:
                words = f"did not end within {timeout:.0f} s: {words}"
            raise CannotRun(
                f"{call}: {words}",
                "check the network and the mirror, or use another mirror: export KITTEN_DEBIAN_MIRROR=URL",
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
        # apt's cached index is for one status file: for another, it is made in memory.
        known = [f"-oDir::State::status={status}", "-oDir::Cache::pkgcache="] if status else []
        done = self.apt("apt-get", "--simulate", "--no-install-recommends", "--no-remove", "install", *known, *packages)
        return re.findall(r"^Inst (\S+)", done.output, re.MULTILINE)

    def download(self, packages: list[str], into: Path) -> list[Path]:
        """Fetch the .deb files of these packages, verified against the suite's signed lists, into a folder of their own.

        What an earlier call left there is taken up or removed.
        """
        into.mkdir(parents=True, exist_ok=True)
        # Of files that are in the current folder it prints nothing.
        named = self.apt("apt-get", "download", "--print-uris", *packages, cwd=self.folder / "archives").output
        found = re.findall(r"(?m)^'[^']*' (\S+) (\d+) ", named)
        megabytes = sum(int(size) for _, size in found) / 1e6
        if megabytes >= _WORTH_A_LINE:
            print(f"apt: fetching {len(found)} packages for {self.architecture}, {megabytes:,.0f} MB", flush=True)  # noqa: T201
        self.apt("apt-get", "download", *packages, cwd=into)
        wanted = {into / name for name, _ in found}
        for path in set(into.iterdir()) - wanted:
            path.unlink()
        return sorted(wanted)

    def for_mmdebstrap(self) -> tuple[list[str], str]:
        """Options and the line of sources.list with which mmdebstrap uses exactly these lists and asks for no others."""
        line = f"deb [signed-by={keyring()}] {mirror()} {self.name} main"
        lists = " ".join(shlex.quote(str(path)) for path in self.lists)
        return [f"--setup-hook=copy-in {lists} /var/lib/apt/lists", "--skip=update"], line


def _sources_text(address: str, suite: str, keys: Path, sources: bool) -> str:
    types = "deb deb-src" if sources else "deb"
    return f"Types: {types}\nURIs: {address}\nSuites: {suite}\nComponents: main\nSigned-By: {keys}\n"


def _configuration_text(folder: Path, architecture: str) -> str:
    """Read after the host's own settings, so that its proxies and validity rules stay in force; its exceptions for signatures do not.

    apt's sandbox user may not be able to read a cache in somebody's home; the host's update hooks do not concern this root.
    Container images switch apt's caches off, without which each call takes two seconds.
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
