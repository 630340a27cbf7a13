"""The steps of a package suite in order, with the scripts and lists that run them in a guest. Pure functions.

Install, verify, files, libraries, the package's own tests, the tests of its dependents, uninstall. If an older version
is published: install that version, upgrade it to the version under test, and run the package's tests again. life.sh
implements the steps.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workers.formats.cpio import MERGED
from workers.lab.guest.file_system import APPLETS
from workers.repository.buildroot import Solvable

_TESTS = "/kitten/own"
"""The guest's folder of test files, with a subfolder for each package that has tests."""

_LIFE = "/kitten/life"
_PACKAGES = "/kitten/packages"
_FIRST = ("0_init", "0_install")
_BY_SUFFIX: Mapping[str, tuple[str, ...]] = {".sh": ("bash",), ".bats": ("bats", "--tap"), ".py": ("python3",)}
_BY_PROGRAM = {b"sh": ("bash",), b"bash": ("bash",), b"bats": ("bats", "--tap"), b"python3": ("python3",)}
_SHEBANG = re.compile(rb"#!\s*(?:/usr)?/bin/(?:env\s+)?(sh|bash|bats|python3)\b")
_EXPECTS = re.compile(rb"^#[ \t]*kitten: expects (.+)$", re.MULTILINE)
_EXCUSABLE = ("core-dump", "sigill")
"""Console rules that a test may trigger on purpose."""
_REASON = re.compile(r"(not-installed|no-interpreter|hung): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Tests:
    """The tests of a package."""

    name: str
    files: Mapping[str, bytes]
    """File name relative to the tests' folder → content."""


@dataclass(frozen=True)
class Dependent:
    """A source package whose binary packages need a package under test."""

    tests: Tests
    packages: tuple[Solvable, ...]
    """Its binary packages and their dependencies, except those that are installed already."""


@dataclass(frozen=True)
class Plan:
    """The packages and tests for one guest."""

    tested: tuple[Solvable, ...]
    needed: tuple[Solvable, ...]
    """The dependencies of the tested packages."""
    own: Tests
    """The package's own tests."""
    programs: tuple[str, ...] = ()
    """Paths of the tested packages' programs and libraries for the target's loader."""
    published: tuple[Solvable, ...] = ()
    """Their published version, with its dependencies; empty: nothing to upgrade."""
    upgrade: tuple[Solvable, ...] = ()
    """The packages that the upgrade installs: the tested packages and their dependencies."""
    dependents: tuple[Dependent, ...] = ()
    kept: str = ""
    """A file of the guest that a tested package replaces. The guest needs it, so no package is removed."""


@dataclass(frozen=True)
class Step:
    """One script of the guest."""

    label: str
    """The case's name: ``install``, ``smoke.sh``, ``after upgrade: smoke.sh``, ``dependent pigz: smoke.sh``."""
    call: str
    """The function of life.sh and its arguments."""
    expects: frozenset[str] = frozenset()
    """Console rules that the test triggers on purpose."""


@dataclass(frozen=True)
class Life:
    """The steps in order, and the files that the guest needs for them."""

    steps: tuple[Step, ...]
    files: Mapping[str, bytes | Path] = field(repr=False)
    """Path in the guest → content."""

    def scripts(self) -> dict[str, bytes]:
        """Map the file name of each step's script to its content. The names sort in the order of the steps."""
        return {
            name: f". {_LIFE}/life.sh\n{step.call}\n".encode()
            for name, step in zip(self.names(), self.steps, strict=True)
        }

    def names(self) -> tuple[str, ...]:
        """Return the file names of the scripts, in the order of the steps."""
        return tuple(
            f"{number:03d}-{re.sub(r'[^A-Za-z0-9._-]+', '-', step.label)}.sh"
            for number, step in enumerate(self.steps, start=1)
        )

    def label(self, name: str) -> str:
        """Return the name of a case with the step's label in place of the script's file name."""
        script, colon, rest = name.partition(": ")
        step = dict(zip(self.names(), self.steps, strict=True)).get(script)
        return f"{step.label}{colon}{rest}" if step else name


def life(plan: Plan, loader: str, limit: float) -> Life:
    """Return the steps of a plan, and their files.

    :param loader: path of the guest's program interpreter.
    :param limit: seconds for one test script.
    """
    lists = _lists(plan)
    steps = [
        Step("install", "install_tested install"),
        Step("verify", "verify_files tested"),
        Step("files", "check_unlisted listed"),
        Step("libraries", f"check_libraries {loader} programs"),
        *own_steps(plan.own, limit),
    ]
    for dependent in plan.dependents:
        name = f"dependent-{dependent.tests.name}"
        lists[name] = _paths(dependent.packages)
        lists[f"{name}-names"] = [package.name for package in dependent.packages]
        label = f"dependent {dependent.tests.name}"
        steps.append(Step(f"{label}: install", f"require_state installed\ntransaction -i {name}"))
        steps += own_steps(dependent.tests, limit, f"{label}: ")
        steps.append(Step(f"{label}: uninstall", f"require_state installed\ntransaction -e {name}-names"))
    if not plan.kept:
        steps.append(Step("uninstall", "uninstall tested owned"))
    if plan.published and not plan.kept:
        steps += [
            Step("install published", "install_published published"),
            Step("upgrade", "upgrade_packages upgrade gone"),
            Step("verify after upgrade", "verify_files tested"),
            *own_steps(plan.own, limit, "after upgrade: "),
        ]
    files: dict[str, bytes | Path] = {f"{_LIFE}/life.sh": Path(__file__).with_name("life.sh")}
    for name, lines in lists.items():
        files[f"{_LIFE}/{name}"] = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
    packages = (*plan.tested, *plan.needed, *plan.published, *plan.upgrade)
    for package in (*packages, *(package for dependent in plan.dependents for package in dependent.packages)):
        files[_path(package)] = package.path
    for tests in (plan.own, *(dependent.tests for dependent in plan.dependents)):
        files |= {f"{_TESTS}/{tests.name}/{name}": content for name, content in tests.files.items()}
    return Life(tuple(steps), files)


def _lists(plan: Plan) -> dict[str, list[str]]:
    tested, needed = installed_paths(plan.tested), installed_paths(plan.needed)
    return {
        "base": list(APPLETS),
        "install": _paths([*plan.tested, *plan.needed]),
        "tested": [package.name for package in plan.tested],
        "listed": sorted(tested | needed),
        "owned": sorted(tested - needed),
        "programs": sorted(plan.programs),
        "published": _paths(plan.published),
        "upgrade": _paths(plan.upgrade),
        "gone": sorted(_paths_upgrade_removes(plan) - tested - needed),
    }


def _paths_upgrade_removes(plan: Plan) -> frozenset[str]:
    """Return the paths that the upgrade removes, unless another package lists them."""
    names = {package.name for package in plan.upgrade}
    stay = [package for package in plan.published if package.name not in names]
    replaced = [package for package in plan.published if package.name in names]
    return installed_paths(replaced) - installed_paths([*stay, *plan.upgrade])


def installed_paths(packages: Collection[Solvable]) -> frozenset[str]:
    """Return the paths that packages list, as on a system whose /lib64, /bin … are links into /usr."""
    return frozenset(real_path(path) for package in packages for path in package.files)


def real_path(path: str) -> str:
    """Return the path below /usr: /usr/lib64/x for /lib64/x."""
    return f"/usr{path}" if path.split("/")[1] in MERGED else path


def _path(package: Solvable) -> str:
    # A published and a staged package may have the same file name; their checksums differ by the signature.
    return f"{_PACKAGES}/{package.sha256[:16]}/{package.path.name}"


def _paths(packages: Sequence[Solvable]) -> list[str]:
    return [_path(package) for package in packages]


# --------------------------------------------------------------------------------------------------- a package's tests


def own_steps(tests: Tests, limit: float, before: str = "") -> Iterator[Step]:
    """Yield the steps that run a package's test scripts.

    :param before: prefix of the scripts' names in the labels.
    """
    for name, command in scripts_of(tests.files):
        arguments = " ".join((f"{_TESTS}/{tests.name}", f"'{name}'", f"{max(1.0, limit):.0f}", *command))
        yield Step(f"{before}{name}", f"run_test {arguments}", expectations(tests.files[name]))


def scripts_of(tests: Mapping[str, bytes]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the test scripts among the files, each with the program that runs it and the program's options.

    The shell scripts (``.sh``) at the top level, sorted by name. A folder for AlmaLinux's test system has a bats
    script, or a script whose name begins with 0_init or 0_install. In such a folder these two come first. Then follow,
    sorted by name, ``.bats``, ``.sh``, ``.py`` and scripts whose first line names one of their interpreters
    (github.com/AlmaLinux/alts, ``find_tests``, ``detect_executor``).
    """
    top = sorted(name for name in tests if "/" not in name and "'" not in name)
    if not any(name.startswith(_FIRST) or name.endswith(".bats") for name in top):
        return tuple((name, ("bash",)) for name in top if name.endswith(".sh"))
    scripts = [(name, command) for name in top if (command := _command(name, tests[name]))]
    return tuple(sorted(scripts, key=lambda script: (_rank(script[0]), script[0])))


def _rank(name: str) -> int:
    return next((rank for rank, prefix in enumerate(_FIRST) if name.startswith(prefix)), len(_FIRST))


def _command(name: str, content: bytes) -> tuple[str, ...]:
    suffix = Path(name).suffix
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if shebang := _SHEBANG.match(content):
        return _BY_PROGRAM[shebang[1]]
    return ()


def expectations(script: bytes) -> frozenset[str]:
    """Return the console rules that a script announces (``# kitten: expects core-dump``), if they are allowed."""
    rules = b" ".join(_EXPECTS.findall(script)).decode(errors="replace").replace(",", " ").split()
    return frozenset(rules) & frozenset(_EXCUSABLE)


def split_reason(reason: str) -> tuple[str, str]:
    """Split the reason of a skipped step into the text and the code (empty if it has no code)."""
    parts = _REASON.fullmatch(reason)
    return (parts[2], parts[1]) if parts else (reason, "")
