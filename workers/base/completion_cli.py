"""``kitten completion``. It is a separate module, because the command line imports a command only to run it."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> None:
    """Print the script that completes kitten's commands and options in a shell.

    \b
    bash  eval "$(kitten completion bash)"              in ~/.bashrc
    zsh   eval "$(kitten completion zsh)"               in ~/.zshrc
    fish  kitten completion fish | source               in ~/.config/fish/config.fish
    """  # noqa: D301 - with \b, click keeps the lines of a paragraph
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    script = get_completion_class(shell)
    assert script is not None  # noqa: S101 - click knows the three shells
    click.echo(script(root.command, {}, "kitten", "_KITTEN_COMPLETE").source())
