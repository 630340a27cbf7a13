"""The packages that ``kitten verify`` and ``kitten test`` work on: package files by path, or a build by URL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from workers.base import options as options_of_all
from workers.base.errors import CannotRun
from workers.base.files import sha256_of
from workers.base.options import CommandT

if TYPE_CHECKING:
    from config.models import Target
    from workers.artifacts.builds import Build
    from workers.results import Artifact


def options(command: CommandT) -> CommandT:
    """Add the options that both commands take."""
    for decorate in (
        click.argument("paths", nargs=-1, metavar="[PATH …]", type=click.Path(path_type=Path)),
        options_of_all.json,
        options_of_all.state,
        options_of_all.site,
        click.option("--build", "build_url", metavar="URL", help="Folder that `kitten build` made, instead of PATHs."),
        click.option("--target", "target_name", metavar="NAME", required=True, help="One of targets.yaml."),
    ):
        command = decorate(command)
    return command


@dataclass(frozen=True)
class Subject:
    """The packages that a command works on."""

    name: str
    packages: tuple[Path, ...]
    artifacts: tuple[Artifact, ...]
    """The records of the same packages, in the same order."""
    build: Build | None = None

    def keep(self, name: str, content: Path) -> Artifact:
        """Put a file into the build's folder.

        :raises CannotRun: if the packages do not come from a build.
        """
        if self.build is None:
            raise CannotRun(f"{name} can be stored only beside a build", "give --build URL instead of PATHs")
        from workers.artifacts.put import put_file

        return put_file(content, self.build.url, name)


def subject(
    target: Target,
    state: Path,
    paths: Sequence[Path],
    build_url: str | None,
    scratch: Path,
    find: Callable[[Sequence[Path]], tuple[Path, ...]] | None = None,
) -> Subject:
    """Return the packages that the user named; those of a build are brought to ``scratch``.

    :param find: returns the files to use from the paths; by default, :func:`packages_in`.
    :raises CannotRun: no package, no build, a build of another target, or a package that is not what build.json says.
    """
    if bool(paths) == bool(build_url):
        raise CannotRun("name either packages or a build", "give PATHs, or --build URL")
    if build_url is None:
        packages = (find or packages_in)(paths)
        return Subject(packages[0].name, packages, tuple(artifact(path, str(path.absolute())) for path in packages))
    from workers.artifacts.builds import open_build

    build = open_build(build_url, state)
    if build.result.target != target.name:
        raise CannotRun(
            f"{build.url} was built for {build.result.target}, not {target.name}",
            f"give --target {build.result.target}",
        )
    if not build.result.rpms:
        raise CannotRun(f"{build.url} holds no packages", "build it again")
    scratch.mkdir(parents=True, exist_ok=True)
    packages = tuple(build.fetch(rpm, scratch, link=True) for rpm in build.result.rpms)
    artifacts = tuple(artifact(path, rpm.url) for path, rpm in zip(packages, build.result.rpms, strict=True))
    for actual, named in zip(artifacts, build.result.rpms, strict=True):
        if actual.sha256 != named.sha256:
            raise CannotRun(f"{build.url}/{named.name} is not what build.json says", "it was changed; build it again")
    return Subject(build.result.nevr or build.result.package, packages, artifacts, build)


def packages_in(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the package files among the paths and in the folders among them.

    :raises CannotRun: if a path does not exist, no package is there, or two have the same file name.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.glob("*.rpm"))
        elif path.is_file():
            found.append(path)
        else:
            raise CannotRun(f"{path} is not there", "give package files or folders of them")
    if not found:
        raise CannotRun(f"no packages in {', '.join(map(str, paths))}", "give package files or folders of them")
    if len({path.name for path in found}) != len(found):
        raise CannotRun("two of the packages have the same file name", "give each package once")
    return tuple(found)


def artifact(path: Path, url: str, name: str = "") -> Artifact:
    """Return the record of a local file.

    :param name: its name in the record, if not that of the file.
    """
    from workers.results import Artifact

    return Artifact(name=name or path.name, url=url, sha256=sha256_of(path), size=path.stat().st_size)
