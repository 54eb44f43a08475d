"""The group of all commands, and what becomes of the errors they end with.

Owns: the way from an exception to a line on stderr and an exit status.
Must never: import what only one command needs; `shmq --help` is to be quick.
Sits: over the command modules; `shmq.cli.main` and the script call it.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any, TextIO

import click

from shmq.errors import InternalError, ShmqError

from . import consume, demo, produce, topics, upkeep
from .failures import INTERRUPTED_STATUS, CommandError, give_up_stdout, warn

_EPILOG = """\b
Exit status: 0 done, 1 an error, 2 wrong usage, 130 Ctrl-C.
Completion in bash: eval "$(_SHMQ_COMPLETE=bash_source shmq)"; zsh and fish likewise.
"""


class Commands(click.Group):
    """A group that turns every error that a user can bring about into one line and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A pipe that was closed ends it quietly, as nobody wants the rest."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
            return result
        except BrokenPipeError:
            give_up_stdout()
            ctx.exit(0)
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED_STATUS)
        except InternalError:
            raise
        except (ShmqError, OSError) as error:
            raise CommandError(str(error)) from error


@click.group(cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="shmq", prog_name="shmq", message="%(prog)s %(version)s")
def commands() -> None:
    """Kafka's log at shared-memory speed, inside one host.

    Every command takes --broker: `shm://name`, or `shm:///directory`. Without it, the environment variable SHMQ_BROKER
    names the broker, else it is `shm://default`.
    """


commands.add_command(topics.topics)
commands.add_command(produce.produce)
commands.add_command(consume.consume)
commands.add_command(upkeep.verify)
commands.add_command(upkeep.gc)
commands.add_command(demo.demo)


def main() -> None:
    """Run the command line; does not return."""
    logging.basicConfig(format="shmq: %(message)s", level=logging.WARNING)
    warnings.showwarning = _show_warning
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # it is a TextIOWrapper
    commands(prog_name="shmq")


def _show_warning(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001  # the signature of warnings.showwarning
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    warn(str(message))
