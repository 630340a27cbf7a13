"""``kitten``: one command line. Commands are looked up by name and imported only when called, so ``--help`` stays quick."""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib.metadata import EntryPoint, distribution
from typing import TYPE_CHECKING

import click

from config.problems import ConfigError
from config.text import plain_text
from workers.base.errors import CannotRun, CheckFailed, no_space

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def _entry_points() -> dict[str, EntryPoint]:
    return {e.name: e for e in distribution("kitten-ci").entry_points if e.group == "kitten.commands"}


_SHORT_HELP = {
    "up": "Start the service: master and workers.",
    "down": "Stop everything the service started.",
    "status": "What is published, what is under way, what waits and why.",
    "demo": "Start the service, push the demo packages, follow them to the repositories.",
    "try": "Build a patch of yours in the production buildroot.",
    "check-config": "Check distribution folders; print every error with file and line.",
    "schema": "Print the JSON Schema of a configuration file, for editors.",
    "dist-git": "The demo's dist-git repositories: make them, push to them.",
    "source": "dist-git commit → SRPM.",
    "sandbox": "Make or look into the sandbox tree that builds run in.",
    "build": "SRPM → RPMs for one target.",
    "verify": "Prove that RPMs are what their target promises.",
    "contents": "Tell which required packages or devices are missing.",
    "test": "Run packages in a QEMU guest with the target's CPU.",
    "guests": "Fetch what the guests are made of; tell how they run on this host.",
    "boot": "Look around in a guest of a target.",
    "lab-status": "Tell which guests run or wait here, and what is kept for them.",
    "stage": "Put a build into the buildroot repository of its target.",
    "gate": "Tell what each rule of a stage's gate says, changing nothing.",
    "publish": "Gate, sign and publish a build.",
    "promote": "Let packages pass from a signed stage to the next.",
    "repo-status": "Tell what each stage shows, what waits and what is owed.",
    "published": "Tell which build of each package users of each target see.",
    "explain": "Tell where a published package comes from and why it was let through.",
    "rollback": "Switch the published repositories back to an earlier snapshot.",
    "compose": "Make an immutable tree of a stage for mirrors.",
    "bucket": "Look at a stage's bucket: verify it, bring it up to date, take it over.",
    "token-key": "Make the OpenPGP key of a PKCS#11 token, for signing.yaml.",
    "clean": "Show artifacts and packages that nobody needs any more, and why; remove them.",
    "cache": "Show what this host keeps because it is slow to make; remove it.",
    "install-check": "Install what is published with dnf, signatures checked.",
    "completion": "Print the script that completes commands in bash, zsh or fish.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        order = list(_SHORT_HELP)
        return sorted(_entry_points(), key=lambda name: (order.index(name) if name in order else 99, name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in (found := _entry_points()):
            return None
        command = found[cmd_name].load()
        assert isinstance(command, click.Command)  # noqa: S101 - our own entry points
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without importing any of them."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=_SHORT_HELP.get(name, "")) for name in names]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _SHORT_HELP.get(name, "")) for name in self.list_commands(ctx)])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kitten-ci")
def kitten() -> None:
    """From a commit to a proven, signed package.

    Each command does one part of the work by hand, exactly as the service does it. Exit status: 0 passed, 1 failed,
    2 could not run.
    """


def main() -> None:
    """Entry point of the ``kitten`` script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `finally` runs when a worker ends a step
    if os.environ.get("KITTEN_DIE_WITH_PARENT"):
        from workers.base.run import die_with_parent

        die_with_parent()
    # A command lives for seconds and makes many records that live as long: to look for cycles among them takes a tenth of it.
    gc.set_threshold(200_000, 50, 100)
    # pydantic would look through every installed package for plugins: a tenth of a short command's time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        # click hands back the status of ctx.exit() here, where a command's own return value would stand as well.
        if isinstance(status := kitten.main(standalone_mode=False), int):
            sys.exit(status)
    except CheckFailed as error:
        click.echo(plain_text(str(error)), err=True)
        sys.exit(1)
    except ConfigError as error:
        click.echo(
            f"{error}\n  → kitten check-config says the same; docs/reference/configuration.md has every key", err=True
        )
        sys.exit(2)
    except CannotRun as error:
        click.echo(f"kitten: {plain_text(str(error))}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("kitten: interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        if (full := no_space(error)) is not None:
            click.echo(f"kitten: {full}", err=True)
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
