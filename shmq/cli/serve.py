"""`shmq serve`: the coordinator in the foreground, for systemd and the like.

Owns: its log on standard error, and its exit status.
Must never: be needed: clients start a coordinator of their own where none runs.
Sits: over the coordinator.
"""

from __future__ import annotations

import logging

import click

from shmq.coordinator.service import serve as serve_broker
from shmq.store import broker_directory, open_broker


@click.command()
@click.option("--quiet", is_flag=True, help="Log warnings and errors only.")
@click.pass_obj
def serve(broker: str | None, quiet: bool) -> int:
    """Run the broker's coordinator until SIGTERM or Ctrl-C.

    Not needed: the first member of a group starts one, which leaves when nobody needs it. Exit status 0 after SIGTERM
    or Ctrl-C, 1 if there is a coordinator already.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level="WARNING" if quiet else "INFO")
    directory = broker_directory(broker)
    open_broker(directory).close()
    if serve_broker(directory, linger_s=None):
        return 0
    click.echo(f"shmq: error: {directory} has a coordinator already; see `shmq status`", err=True)
    return 1
