"""The command line ``kitten``. A command is imported only when it is called, so that ``--help`` is fast."""

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
    "down": "Stop the service and all its processes.",
    "status": "Show what is published, what is under way, and what waits and why.",
    "demo": "Start the service, push the demo packages, and show their builds until they are published.",
    "try": "Build, verify and test your patch in the production buildroot.",
    "check-config": "Check the configuration of a site; print every error with file and line.",
    "schema": "Print the JSON Schema of a configuration file, for editors.",
    "dist-git": "Make the demo's dist-git repositories, and push to them.",
    "source": "Make the SRPM of a dist-git commit.",
    "sandbox": "Make the sandbox trees in which builds run, or open a shell in one.",
    "build": "Build the RPMs of an SRPM for one target.",
    "verify": "Prove that RPMs are compiled as their target requires.",
    "contents": "Report which required packages or devices are missing.",
    "test": "Run packages in a QEMU guest with the target's CPU.",
    "guests": "Fetch the parts of the guests; show how guests run on this host.",
    "boot": "Boot a guest of a target and use its console.",
    "lab-status": "Show which guests run or wait here, and which files are kept for them.",
    "stage": "Put a build into the buildroot repository of its target.",
    "gate": "Show the result of each rule of a stage's gate, without any change.",
    "publish": "Gate, sign and publish a build.",
    "promote": "Move packages from a signed stage to the next.",
    "repo-status": "Show what each stage contains, what waits and what targets owe.",
    "published": "Show which build of each package the users of each target have.",
    "explain": "Show where a published package comes from and why it passed the gate.",
    "rollback": "Switch the published repositories back to an earlier snapshot.",
    "compose": "Make an immutable tree of a stage for mirrors.",
    "bucket": "Verify a stage's bucket, bring it up to date, or take it over.",
    "token-key": "Make the OpenPGP key of a PKCS#11 token, for signing.yaml.",
    "clean": "Show artifacts and packages that are no longer needed, and why; remove them.",
    "cache": "Show what is in the cache of this host; remove it.",
    "install-check": "Install published packages with dnf, with signatures checked.",
    "completion": "Print the script that completes commands in bash, zsh or fish.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        order = list(_SHORT_HELP)
        return sorted(_entry_points(), key=lambda name: (order.index(name) if name in order else 99, name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in (entry_points := _entry_points()):
            return None
        command = entry_points[cmd_name].load()
        assert isinstance(command, click.Command)  # noqa: S101 - entry points of this project
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

    Each command does one part of the work, exactly as the service does it. Exit status: 0 passed, 1 failed,
    2 could not run.
    """


def main() -> None:
    """Run the ``kitten`` script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `finally` runs when a worker ends a step
    if os.environ.get("KITTEN_DIE_WITH_PARENT"):
        from workers.base.run import die_with_parent

        die_with_parent()
    # A command runs for seconds, and keeps most records to its end: a search for cycles would take a tenth of its time.
    gc.set_threshold(200_000, 50, 100)
    # pydantic would search every installed package for plugins: a tenth of a short command's time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        # click returns the status of ctx.exit() here, or the return value of the command.
        if isinstance(status := kitten.main(standalone_mode=False), int):
            sys.exit(status)
    except CheckFailed as error:
        click.echo(plain_text(str(error)), err=True)
        sys.exit(1)
    except ConfigError as error:
        click.echo(
            f"{error}\n  → `kitten check-config` repeats this check; docs/reference/configuration.md has every key",
            err=True,
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
        if (message := no_space(error)) is not None:
            click.echo(f"kitten: {message}", err=True)
            sys.exit(2)
        raise


if __name__ == "__main__":
    main()
