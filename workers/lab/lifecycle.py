"""The steps of a package suite: which there are, in which order, and the scripts and lists that take them in a guest. Pure.

Install, verify, files, libraries, the package's own tests, its dependents' tests, uninstall; then, where users have an older
version, that one, the upgrade to the one under test, and its tests once more. life.sh has the steps themselves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workers.formats.cpio import MERGED
from workers.lab.guest.file_system import APPLETS
from workers.repository.buildroot import Solvable

TESTS = "/kitten/own"
"""Where a package's test files lie in the guest, in a folder for each package that brings some."""

_LIFE = "/kitten/life"
_PACKAGES = "/kitten/packages"
_FIRST = ("0_init", "0_install")
_BY_SUFFIX: Mapping[str, tuple[str, ...]] = {".sh": ("bash",), ".bats": ("bats", "--tap"), ".py": ("python3",)}
_BY_PROGRAM = {b"sh": ("bash",), b"bash": ("bash",), b"bats": ("bats", "--tap"), b"python3": ("python3",)}
_SHEBANG = re.compile(rb"#!\s*(?:/usr)?/bin/(?:env\s+)?(sh|bash|bats|python3)\b")
_EXPECTS = re.compile(rb"^#[ \t]*kitten: expects (.+)$", re.MULTILINE)
EXCUSABLE = ("core-dump", "sigill")
"""Console rules that a test may provoke on purpose."""
_REASON = re.compile(r"(not-installed|no-interpreter|hung): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Tests:
    """The tests of a package."""

    name: str
    files: Mapping[str, bytes]
    """By name relative to their folder."""


@dataclass(frozen=True)
class Dependent:
    """A source package whose packages need one under test."""

    tests: Tests
    packages: tuple[Solvable, ...]
    """Its own, and what they need, beyond what is installed."""


@dataclass(frozen=True)
class Plan:
    """What a guest is to do."""

    tested: tuple[Solvable, ...]
    needed: tuple[Solvable, ...]
    """What the tested packages need."""
    own: Tests
    programs: tuple[str, ...] = ()
    """Paths of the tested packages' programs and libraries for the target's loader."""
    published: tuple[Solvable, ...] = ()
    """What users have of them, all it needs included; none: nothing to upgrade."""
    upgrade: tuple[Solvable, ...] = ()
    """What the upgrade to the tested packages brings, they themselves included."""
    dependents: tuple[Dependent, ...] = ()
    kept: str = ""
    """A file of the guest that a tested package replaces: without it the guest cannot go on, so nothing is removed."""


@dataclass(frozen=True)
class Step:
    """One script of the guest."""

    label: str
    """As in the case's name: ``install``, ``smoke.sh``, ``after upgrade: smoke.sh``, ``dependent pigz: smoke.sh``."""
    call: str
    """The function of life.sh and its words."""
    expects: frozenset[str] = frozenset()
    """Console rules that it says it provokes."""


@dataclass(frozen=True)
class Life:
    """All of it: steps in order, and what the guest needs for them."""

    steps: tuple[Step, ...]
    files: Mapping[str, bytes | Path] = field(repr=False)
    """By path in the guest."""

    def scripts(self) -> dict[str, bytes]:
        """File name → content of each step's script; their names are in the order of the steps."""
        return {
            name: f". {_LIFE}/life.sh\n{step.call}\n".encode()
            for name, step in zip(self.names(), self.steps, strict=True)
        }

    def names(self) -> tuple[str, ...]:
        """The scripts' file names, in the order of the steps."""
        return tuple(
            f"{number:03d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', step.label)}.sh"
            for number, step in enumerate(self.steps, start=1)
        )

    def label(self, name: str) -> str:
        """A case's name, its script's file name replaced by the step's label."""
        script, colon, rest = name.partition(": ")
        found = dict(zip(self.names(), self.steps, strict=True)).get(script)
        return f"{found.label}{colon}{rest}" if found else name


def life(plan: Plan, loader: str, limit: float) -> Life:
    """The steps of a plan.

    :param loader: path of the guest's program interpreter.
    :param limit: seconds that one test script may take.
    """
    lists = _lists(plan)
    steps = [
        Step("install", "installs install"),
        Step("verify", "verifies tested"),
        Step("files", "owned listed"),
        Step("libraries", f"loads {loader} programs"),
        *own_steps(plan.own, limit),
    ]
    for dependent in plan.dependents:
        name = f"dependent-{dependent.tests.name}"
        lists[name] = _paths(dependent.packages)
        lists[f"{name}-names"] = [package.name for package in dependent.packages]
        label = f"dependent {dependent.tests.name}"
        steps.append(Step(f"{label}: install", f"needs installed\ntransaction -i {name}"))
        steps += own_steps(dependent.tests, limit, f"{label}: ")
        steps.append(Step(f"{label}: uninstall", f"needs installed\ntransaction -e {name}-names"))
    if not plan.kept:
        steps.append(Step("uninstall", "uninstalls tested owned"))
    if plan.published and not plan.kept:
        steps += [
            Step("install published", "installs_published published"),
            Step("upgrade", "upgrades upgrade gone"),
            Step("verify after upgrade", "verifies tested"),
            *own_steps(plan.own, limit, "after upgrade: "),
        ]
    files: dict[str, bytes | Path] = {f"{_LIFE}/life.sh": Path(__file__).with_name("life.sh")}
    for name, lines in lists.items():
        files[f"{_LIFE}/{name}"] = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
    brought = (*plan.tested, *plan.needed, *plan.published, *plan.upgrade)
    for package in (*brought, *(package for dependent in plan.dependents for package in dependent.packages)):
        files[_path(package)] = package.path
    for tests in (plan.own, *(dependent.tests for dependent in plan.dependents)):
        files |= {f"{TESTS}/{tests.name}/{name}": content for name, content in tests.files.items()}
    return Life(tuple(steps), files)


def _lists(plan: Plan) -> dict[str, list[str]]:
    tested, needed = installed_paths(plan.tested), installed_paths(plan.needed)
    fresh = [*plan.tested, *plan.needed]
    return {
        "base": list(APPLETS),
        "install": _paths(fresh),
        "tested": [package.name for package in plan.tested],
        "listed": sorted(tested | needed),
        "owned": sorted(tested - needed),
        "programs": sorted(plan.programs),
        "published": _paths(plan.published),
        "upgrade": _paths(plan.upgrade),
        "gone": sorted(_replaced(plan) - tested - needed),
    }


def _replaced(plan: Plan) -> frozenset[str]:
    """Paths that the upgrade takes away, if nothing else lists them."""
    names = {package.name for package in plan.upgrade}
    stay = [package for package in plan.published if package.name not in names]
    went = [package for package in plan.published if package.name in names]
    return installed_paths(went) - installed_paths([*stay, *plan.upgrade])


def installed_paths(packages: Collection[Solvable]) -> frozenset[str]:
    """The paths packages list, as they are on a system whose /lib64, /bin … are links into /usr."""
    return frozenset(real_path(path) for package in packages for path in package.files)


def real_path(path: str) -> str:
    """/lib64/x as /usr/lib64/x."""
    return f"/usr{path}" if path.split("/")[1] in MERGED else path


def _path(package: Solvable) -> str:
    # The published and the staged package of a name differ by their signature.
    return f"{_PACKAGES}/{package.sha256[:16]}/{package.path.name}"


def _paths(packages: Sequence[Solvable]) -> list[str]:
    return [_path(package) for package in packages]


# ------------------------------------------------------------------------------------------------------ a package's tests


def own_steps(tests: Tests, limit: float, before: str = "") -> Iterator[Step]:
    """The steps that run a package's test scripts.

    :param before: what stands before the scripts' names in the labels.
    """
    for name, command in scripts_of(tests.files):
        words = " ".join((f"{TESTS}/{tests.name}", f"'{name}'", f"{max(1.0, limit):.0f}", *command))
        yield Step(f"{before}{name}", f"own {words}", expectations(tests.files[name]))


def scripts_of(tests: Mapping[str, bytes]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The test scripts among the files, and what runs each: file name, program and its options.

    Those of the shell (``.sh``) at the top, by name. A folder in the style of AlmaLinux's test system has a script of bats, or
    one whose name begins with 0_init or 0_install: there those come first, and ``.bats``, ``.sh``, ``.py`` and scripts whose
    first line names one of their interpreters follow by name (github.com/AlmaLinux/alts, ``find_tests``, ``detect_executor``).
    """
    top = sorted(name for name in tests if "/" not in name and "'" not in name)
    if not any(name.startswith(_FIRST) or name.endswith(".bats") for name in top):
        return tuple((name, ("bash",)) for name in top if name.endswith(".sh"))
    found = [(name, command) for name in top if (command := _command(name, tests[name]))]
    return tuple(sorted(found, key=lambda script: (_rank(script[0]), script[0])))


def _rank(name: str) -> int:
    return next((rank for rank, prefix in enumerate(_FIRST) if name.startswith(prefix)), len(_FIRST))


def _command(name: str, content: bytes) -> tuple[str, ...]:
    suffix = Path(name).suffix
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if found := _SHEBANG.match(content):
        return _BY_PROGRAM[found.group(1)]
    return ()


def expectations(script: bytes) -> frozenset[str]:
    """The console rules a script says it provokes: ``# kitten: expects core-dump``. Only ``EXCUSABLE`` ones count."""
    words = b" ".join(_EXPECTS.findall(script)).decode(errors="replace").replace(",", " ").split()
    return frozenset(words) & frozenset(EXCUSABLE)


def split_reason(reason: str) -> tuple[str, str]:
    """The reason of a skip, and the code that a step gave with it."""
    found = _REASON.fullmatch(reason)
    return (found.group(2), found.group(1)) if found else (reason, "")
