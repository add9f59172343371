"""`headsmith completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]

_EPILOG = """\b
Examples:
  headsmith completion bash > ~/.local/share/bash-completion/completions/headsmith
  headsmith completion zsh > ~/.zfunc/_headsmith
  headsmith completion fish > ~/.config/fish/completions/headsmith.fish
"""


@click.command(epilog=_EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell."""
    from headsmith.cli.main import cli

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"This click has no completion for {shell}.")
    # The template itself: `source()` would first run bash to ask for its version.
    complete = found(cli, {}, "headsmith", "_HEADSMITH_COMPLETE")
    click.echo(complete.source_template % complete.source_vars())
