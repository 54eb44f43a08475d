"""The main job: real files through worker processes, checked, and raced against multiprocessing.Queue.

Owns: the order of the parts, the temporary broker, and the exit status.
Must never: call a run good that lost, doubled or changed a file.
Sits: over the public API; `shmq demo` calls it.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from shmq import Admin
from shmq.demo.count import count_names
from shmq.demo.crew import ENDING_SIGNALS
from shmq.demo.race import race
from shmq.demo.report import print_counts, print_race, say
from shmq.demo.source import Source, find_files, topic_configs
from shmq.store import temporary_broker

PARTITIONS = 4


def run(broker: str | None, directory: Path | None, pattern: str, workers: int, storage: str, rounds: int) -> int:
    """Run the demo and return its exit status: 0 if every check held.

    Args:
        broker: Address of the broker to use; None for one of its own, which is removed at the end.
        directory: Where the files lie; None for the standard library.
        pattern: Which files, as `Path.glob` takes it.
        workers: How many worker processes.
        storage: "memory" or "disk".
        rounds: How often each side of the race runs.
    """
    console = Console()
    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, _leave)
    source = find_files(directory, pattern)
    say(console, f"{len(source.files):,} files, {source.total_bytes / 1e6:.1f} MB: {pattern} below {source.directory}")
    if storage == "memory" and shutil.disk_usage("/dev/shm").free < 2 * _needed_bytes(source, workers):
        say(console, "/dev/shm is too small for this: topics on disk instead")
        storage = "disk"
    with _broker(broker) as address, _topics(address, source, storage) as (files_topic, counts_topic):
        counted = count_names(address, files_topic, counts_topic, source, workers)
        print_counts(console, counted, source)
        results = race(address, source, storage, workers, rounds)
        print_race(console, results)
    problems = counted.problems + [problem for each in results for problem in each.problems]
    for problem in problems[:20]:
        say(console, f"FAILED {problem}", "red")
    if problems:
        say(console, f"{len(problems):,} checks failed", "red")
        return 1
    say(
        console,
        f"All {len(source.files):,} files were counted, and arrived unchanged and once in every round.",
        "green",
    )
    return 0


def _leave(number: int, _: object) -> NoReturn:
    """End, with everything removed, however impatient the user is."""
    for each in ENDING_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _broker(address: str | None) -> contextlib.AbstractContextManager[str]:
    """The broker to use; one of our own is removed with everything it has in /dev/shm."""
    return temporary_broker("shmq-demo-") if address is None else contextlib.nullcontext(address)


def _needed_bytes(source: Source, workers: int) -> int:
    """What the rings of one part of the demo take at most."""
    return max(PARTITIONS + 1, workers) * int(topic_configs(source, "memory")["retention_bytes"])


@contextlib.contextmanager
def _topics(address: str, source: Source, storage: str) -> Iterator[tuple[str, str]]:
    """Two topics for this run alone, deleted at the end. Nothing is dropped: producers wait for the workers."""
    run_id = secrets.token_hex(4)
    names = (f"demo-files-{run_id}", f"demo-counts-{run_id}")
    configs = topic_configs(source, storage)
    with Admin(bootstrap_servers=address) as admin:
        admin.create_topics({names[0]: {"num_partitions": PARTITIONS, "configs": configs}})
        admin.create_topics({names[1]: {"num_partitions": 1, "configs": configs}})
        try:
            yield names
        finally:
            admin.delete_topics(names)
            admin.delete_groups(names[:1])
