"""The options that all worker commands share, and the site and state folder that they name."""

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
    """Add ``--site``; the command's parameter is ``site_name``."""
    return click.option(
        "--site",
        "site_name",
        metavar="NAME|FOLDER",
        envvar="KITTEN_SITE",
        default="demo",
        help="Folder below config/, or a path.  [default: $KITTEN_SITE, else demo]",
    )(command)


def state(command: CommandT) -> CommandT:
    """Add ``--state``; the command's parameter is ``state_folder``."""
    return click.option(
        "--state",
        "state_folder",
        metavar="FOLDER",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="KITTEN_STATE",
        help="State folder.  [default: $KITTEN_STATE, else var/SITE in the checkout]",
    )(command)


def json(command: CommandT) -> CommandT:
    """Add ``--json``; the command's parameter is ``json_file``."""
    return click.option(
        "--json",
        "json_file",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Write the result to FILE.",
    )(command)


def site_and_state(site_name: str, state_folder: Path | None) -> tuple[Site, Path]:
    """Load a site; return it and the absolute path of its state folder.

    :raises ConfigError: if the site's files have mistakes.
    """
    from config.loading import load_site

    loaded = load_site(site_name)
    return loaded, (state_folder or CHECKOUT / "var" / loaded.distribution.name).absolute()


def named_target(site: Site, name: str) -> Target:
    """Return the site's target with that name.

    :raises CannotRun: if the site has none; the message lists its targets.
    """
    try:
        return site.target(name)
    except KeyError as error:
        raise CannotRun(str(error.args[0]), "targets are the entries of targets.yaml") from None


def named_package(site: Site, name: str) -> SourcePackage:
    """Return the site's package with that name.

    :raises CannotRun: if the site has none; the message lists its packages.
    """
    try:
        return site.package(name)
    except KeyError as error:
        raise CannotRun(str(error.args[0]), "name one of these, or add packages/NAME.yaml to the site") from None
