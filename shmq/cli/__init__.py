"""The command `shmq`: one small file per command.

Owns: the group, the `--broker` option, and what an error looks like in a terminal.
Must never: show a traceback for bad input, or a message where a pipe was closed.
Sits: rightmost; over the public API and the demo.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from shmq import __version__
from shmq.cli.care import collect_garbage, verify_files
from shmq.cli.consume import consume
from shmq.cli.demo import demo
from shmq.cli.groups import groups
from shmq.cli.produce import produce
from shmq.cli.queues import queues
from shmq.cli.serve import serve
from shmq.cli.status import status
from shmq.cli.topics import topics
from shmq.errors import ShmqError

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C ended: 128 + SIGINT."""


class _Commands(click.Group):
    """Ends as other tools of a shell do, quietly, when the reader of its output or the user has seen enough."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            status = super().invoke(context)
            sys.stdout.flush()
        except BrokenPipeError:
            # `shmq consume t | head`. What is still buffered must not be written at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            return INTERRUPTED
        return status


_BROKER_HELP = "shm://name or shm:///directory. Default: the environment's SHMQ_BROKER, else shm://default."


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="shmq")
@click.option("--broker", metavar="ADDRESS", help=_BROKER_HELP)
@click.pass_context
def cli(context: click.Context, broker: str | None) -> None:
    """Kafka's log at shared-memory speed inside one host.

    A broker is a directory; the first command that uses it makes it.
    """
    context.obj = broker


def _use_broker(context: click.Context, _: click.Parameter, address: str | None) -> None:
    if address is not None:
        context.obj = address


def _take_broker(command: click.Command) -> None:
    """Let `--broker` stand behind a command's name too."""
    behind = click.Option(["--broker"], metavar="ADDRESS", help=_BROKER_HELP, expose_value=False, callback=_use_broker)
    command.params.append(behind)
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        _take_broker(each)


for command in (topics, groups, queues, produce, consume, status, serve, verify_files, collect_garbage, demo):
    _take_broker(command)
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    if sys.stdout is None:
        raise SystemExit("shmq: error: standard output is closed")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text in the terminal's encoding
    try:
        status = cli.main(args=arguments, prog_name="shmq", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.Abort:  # Ctrl-C before the command began
        return INTERRUPTED
    except (click.ClickException, ShmqError, OSError) as error:
        click.echo(f"shmq: error: {_text(error)}", err=True)
        return 1
    return int(status or 0)


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is None:
        return f"standard input or output: {error.strerror or error}"  # all other files are the store's
    return str(error)
