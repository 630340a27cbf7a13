"""The options that every worker command takes, and what they name: the site and its state folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from workers.base.errors import CannotRun

if TYPE_CHECKING:
    from config.models import Site, SourcePackage, Target

CHECKOUT = Path(__file__).parents[2]
CommandT = TypeVar("CommandT", bound=Callable[..., object])


def site(command: CommandT) -> CommandT:
    """Add ``--site``, handed over as ``site_name``."""
    return click.option(
        "--site",
        "site_name",
        metavar="NAME|FOLDER",
        envvar="KITTEN_SITE",
        default="demo",
        help="Folder below config/, or a path.  [default: $KITTEN_SITE, else demo]",
    )(command)


def state(command: CommandT) -> CommandT:
    """Add ``--state``, handed over as ``state_folder``."""
    return click.option(
        "--state",
        "state_folder",
        metavar="FOLDER",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="KITTEN_STATE",
        help="State folder.  [default: $KITTEN_STATE, else var/SITE in the checkout]",
    )(command)


def json(command: CommandT) -> CommandT:
    """Add ``--json``, handed over as ``json_file``."""
    return click.option(
        "--json",
        "json_file",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the result there.",
    )(command)


def site_and_state(site_name: str, state_folder: Path | None) -> tuple[Site, Path]:
    """The site and the absolute path of its state folder.

    :raises ConfigError: when the site's files do not hold.
    """
    from config.loading import load_site

    loaded = load_site(site_name)
    return loaded, (state_folder or CHECKOUT / "var" / loaded.distribution.name).absolute()


def named_target(site: Site, name: str) -> Target:
    """The site's target of that name.

    :raises CannotRun: with the names there are.
    """
    try:
        return site.target(name)
    except KeyError as error:
        raise CannotRun(str(error.args[0]), "targets are the entries of targets.yaml") from None


def named_package(site: Site, name: str) -> SourcePackage:
    """The site's package of that name.

    :raises CannotRun: with the names there are.
    """
    try:
        return site.package(name)
    except KeyError as error:
        raise CannotRun(str(error.args[0]), "name one of these, or add packages/NAME.yaml to the site") from None
