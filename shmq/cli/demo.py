"""`shmq demo`: the main job.

Owns: its options.
Must never: leave a process or a broker behind.
Sits: over shmq.demo.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Tokenize the standard library, then race multiprocessing.Queue.")
@click.option(
    "--input",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Read the .py files below this directory instead of the standard library's.",
)
@click.option("--glob", "pattern", default="*.py", show_default=True, help="Which files to read.")
@click.option("--workers", type=click.IntRange(1, 64), default=4, show_default=True, help="Worker processes.")
@click.option(
    "--storage",
    type=click.Choice(["memory", "disk"]),
    default="memory",
    show_default=True,
    help="Where topics lie: in /dev/shm, or in the broker's directory.",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True, help="Rounds of the race.")
@click.pass_obj
def demo(broker: str | None, directory: Path | None, pattern: str, workers: int, storage: str, rounds: int) -> int:
    """Tokenize the standard library in worker processes, then race multiprocessing.Queue.

    Every file goes, keyed by its path, to a topic with 4 partitions; workers count the names in it and send what they
    counted to a second topic. Then the same files go through multiprocessing.Queue and through shmq to workers that
    only receive and check. A digest per file proves that nothing was lost or doubled; the exit status is 0 only then.
    Without --broker it makes one of its own and removes it.
    """
    from shmq.demo import run  # rich and multiprocessing are not needed by the other commands

    return run(broker, directory, pattern, workers, storage, rounds)
