"""The mock backend: production builds in a chroot of the distribution.

mock (https://rpm-software-management.github.io/mock/) uses the distribution's compilers and flags. This module adds the
target's configuration and its staged packages as one more repository, and finds the cause of a failure.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from config.models import Site, Target
from workers.base import cache
from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.base.run import CommandFailed, require, run
from workers.repository.buildroot import Solvable
from workers.rpm import logs
from workers.rpm.backend import BuildOutput, Plan

RECIPE = 1
"""Part of the build's identity. Increase it when the same inputs give another result."""

_CONFIGURATIONS = Path("/etc/mock")
_SLOW_START = 1800.0
"""Seconds for mock besides rpmbuild: it fills a chroot from a mirror."""

# mock's exit statuses (mockbuild/exception.py).
_TIMED_OUT = 11
_CANNOT_RUN = {
    2: "mock has no privileges: add this user to the group mock",
    3: "mock refuses its configuration",
    5: "mock refuses its command line",
    6: "mock cannot build this architecture on this host",
    60: "another mock process uses this buildroot",
    70: "mock cannot make the folder of results",
    80: "mock may not make namespaces on this host",
}
_ROOT = {20, 30, 31, 90, 120}

_ROOT_ERROR = re.compile(
    r"No matching package to install: .*|No such command: .*|nothing provides .*|Problem( \d+)?: .*|Error: .*|"
    r"ERROR: (?!Exception).*|"
    r"Failed to (download|synchronize) .*|Cannot download .*|Curl error .*|.*No space left on device.*|"
    r"Command failed: .*"
)
_PREFIX = re.compile(r"^(DEBUG|INFO|WARNING|ERROR) \S+:\d+: +")


def configuration(site: Site, target: Target, staged: Path | None, folder: Path = _CONFIGURATIONS) -> str:
    """Return a mock configuration file: the distribution's file for the target, then the site's additions.

    :param staged: the target's buildroot repository; None if it has no index yet.
    """
    lines = [
        f"include({str(folder / target.mock.config) + '.cfg'!r})",
        f"config_opts['dist'] = {site.build.dist.lstrip('.')!r}",
    ]
    macros = {"%vendor": site.build.vendor, **{f"%{name}": value for name, value in site.build.macros.items()}}
    lines += [f"config_opts['macros'][{name!r}] = {value!r}" for name, value in macros.items()]
    for name, option in target.mock.options.items():
        keys = "".join(f"[{key!r}]" for key in _keys(name))
        lines.append(f"config_opts{keys} = {option!r}")
    lines += [
        f"config_opts['rpmbuild_timeout'] = {site.build.timeout_minutes * 60}",
        "config_opts['rpmbuild_networking'] = False",
        "config_opts['print_main_output'] = True",
        "config_opts['plugin_conf']['package_state_enable'] = True",
    ]
    if staged is not None:
        repository = (
            "\n[kitten-staged]\nname=Packages that this target has staged\n"
            f"baseurl=file://{staged}\nenabled=1\ngpgcheck=0\nmetadata_expire=0\nskip_if_unavailable=0\n"
        )
        lines.append(f"config_opts['dnf.conf'] += {repository!r}")
    return "\n".join(lines) + "\n"


def _keys(name: str) -> list[str]:
    """Return the keys of a nested option. A dot separates keys only below ``plugin_conf`` (``dnf.conf`` is one key)."""
    return name.split(".") if name.startswith("plugin_conf.") else [name]


def command_line(mock: str, configuration_file: Path, results: Path, extension: str, srpm: Path) -> list[str]:
    """Return the command line of mock.

    :param extension: names the chroot: other builds run at the same time, and a second try cleans up the first.
    """
    return [
        *(mock, "--root", str(configuration_file), "--resultdir", str(results), "--uniqueext", extension),
        *("--rebuild", str(srpm)),
    ]


def classify(status: int, texts: Mapping[str, str], minutes: float) -> tuple[str, str]:
    """Return the name of the log with the cause of a failure, and the line to read first.

    :param texts: name → content of build.log, root.log, state.log and mock's output (``mock.log``), if they exist.
    :param minutes: time limit of rpmbuild, for the message.
    """
    build, root = texts.get("build.log", ""), texts.get("root.log", "")
    if status == _TIMED_OUT:
        return "build.log", logs.timeout_cause(build, minutes)
    started = "Start: rpmbuild" in texts.get("state.log", "") or "Executing(%" in build
    if status not in _ROOT and started:
        return "build.log", logs.cause(build)
    for name, text in (("root.log", root), ("mock.log", texts.get("mock.log", ""))):
        for line in (_PREFIX.sub("", line).strip() for line in text.splitlines()):
            if _ROOT_ERROR.fullmatch(line):
                return name, f"the buildroot could not be made: {line}"
    last = next((line for line in reversed(texts.get("mock.log", "").splitlines()) if line.strip()), "")
    return "mock.log", f"mock failed with {status}: {last.strip()}"


def installed_packages(text: str) -> tuple[str, ...]:
    """Return the NEVRA of each package in the buildroot, from installed_pkgs.log, which has no checksums."""
    return tuple(sorted(line.split()[0] for line in text.splitlines() if line.strip()))


class Mock:
    """Builds with mock on this host."""

    def __init__(self, site: Site, target: Target, staged: Path) -> None:
        self.site = site
        self.target = target
        self.staged = staged

    def _configuration(self) -> str:
        indexed = (self.staged / "repodata/repomd.xml").is_file()
        return configuration(self.site, self.target, self.staged if indexed else None)

    def plan(self, srpm: Solvable) -> Plan:  # noqa: ARG002 - mock resolves BuildRequires
        """Return the inputs that are known before mock runs: its version, configuration and the staged index."""
        mock = _mock()
        base = _CONFIGURATIONS / f"{self.target.mock.config}.cfg"
        if not base.is_file():
            raise CannotRun(
                f"mock has no configuration {base}",
                "dnf install mock-core-configs, or fix mock.config in targets.yaml",
            )
        index = self.staged / "repodata/repomd.xml"
        version = run([mock, "--version"]).output.strip().splitlines()[-1:]
        inputs = {
            "backend": "mock",
            "recipe": str(RECIPE),
            "mock": "".join(version),
            "configuration": _digest(base, self._configuration()),
            "staged": sha256_of(index) if index.is_file() else "",
        }
        return Plan((), inputs["configuration"], tuple(sorted(inputs.items())))

    def build(self, srpm: Solvable, plan: Plan, into: Path) -> BuildOutput:  # noqa: ARG002 - in the configuration
        """Run mock and keep its packages and logs."""
        minutes = self.site.build.timeout_minutes
        results = into / "mock"
        results.mkdir()
        file = into / f"kitten-{self.target.name}.cfg"
        file.write_text(self._configuration())
        extension = f"kitten-{hashlib.sha256(f'{self.target.name} {srpm.sha256}'.encode()).hexdigest()[:12]}"
        output = into / "mock.log"
        try:
            with cache.hold_lock(cache.root() / "locks" / f"mock-{extension}"):
                argv = command_line(_mock(), file, results, extension, srpm.path.absolute())
                done = run(argv, log=output, echo=True, timeout=minutes * 60 + _SLOW_START, check=False)
                status = done.status
        except CommandFailed:
            status = _TIMED_OUT
        for path in sorted(results.iterdir()):
            shutil.move(path, into / path.name)
        results.rmdir()
        file.unlink()
        kept = tuple(sorted(into.glob("*.log")))
        if status == 0:
            rpms = tuple(sorted(path for path in into.glob("*.rpm") if not path.name.endswith(".src.rpm")))
            for source in into.glob("*.src.rpm"):
                source.unlink()
            packages = into / "installed_pkgs.log"
            return BuildOutput(
                rpms, kept, buildroot=installed_packages(packages.read_text()) if packages.is_file() else ()
            )
        if status in _CANNOT_RUN:
            last = next((line for line in reversed(output.read_text().splitlines()) if line.strip()), "")
            raise CannotRun(f"{_CANNOT_RUN[status]}: {last.strip()}")
        for path in into.glob("*.rpm"):
            path.unlink()
        name, cause = classify(status, {path.name: path.read_text(errors="replace") for path in kept}, minutes)
        return BuildOutput((), kept, f"{cause} ({name})")


def _digest(base: Path, configuration_text: str) -> str:
    """Return the hash of all configuration of the chroot: the target's file, templates, the host's and our settings."""
    digest = hashlib.sha256(configuration_text.encode())
    for path in (base, *sorted((base.parent / "templates").glob("*.tpl")), base.parent / "site-defaults.cfg"):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _mock() -> str:
    try:
        return require("mock", "mock")
    except CannotRun:
        raise CannotRun(
            "mock is not installed",
            "dnf install mock (Enterprise Linux, Fedora); elsewhere set backend: sandbox in build.yaml",
        ) from None
