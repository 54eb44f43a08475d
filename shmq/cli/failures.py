"""How a command fails: one line on stderr and an exit status.

Owns: the form of that line.
Must never: let a traceback out for anything that a user can bring about.
Sits: under all commands; `app` shows what they raise.
"""

from __future__ import annotations

import os
import sys
from typing import IO, Any

import click

CLOSED_PIPE_STATUS = 128 + 13  # what a shell shows for a program that SIGPIPE ended
INTERRUPTED_STATUS = 128 + 2  # and for SIGINT


class CommandError(click.ClickException):
    """A command cannot do what was asked; exit status 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print `shmq: error: ...` as one line."""
        text = " ".join(self.format_message().splitlines())
        click.echo(f"shmq: error: {text}", file=file, err=file is None)


def warn(text: str) -> None:
    """Print `shmq: warning: ...` on stderr."""
    click.echo(f"shmq: warning: {text}", err=True)


def give_up_stdout() -> None:
    """Send what is still buffered for a pipe that nobody reads to nowhere, so that exiting does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
