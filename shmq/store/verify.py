"""Walking a broker's files: every "valid if and only if" of the format, partition by partition.

Owns: the order of the walk, and turning each outcome into a line of a report.
Must never: change anything, or stop at the first topic that is broken.
Sits: in store; the checks themselves are the native core's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shmq import _native
from shmq.errors import ShmqError

from .broker import Broker
from .topics import Topics


@dataclass(frozen=True)
class Finding:
    """What was found in one partition.

    Attributes:
        topic: Its topic.
        partition: Its number, -1 if the topic itself could not be read.
        problem: The first broken invariant, "" if there is none.
        path: The file that breaks it.
        pos: Where, in bytes from the start of the file.
        census: Counts of segments, bytes, batches, records, claimed and aborted batches.
    """

    topic: str
    partition: int
    problem: str = ""
    path: str = ""
    pos: int = 0
    census: dict[str, int] = field(default_factory=dict)


def verify(broker: Broker, names: Iterable[str] | None = None) -> Iterator[Finding]:
    """Check topics, all by default, while others may be using them.

    Raises:
        UnknownTopicOrPartitionError: a topic that was named does not exist.
    """
    topics = Topics(broker)
    with broker.process() as process:
        for name in topics.names() if names is None else names:
            try:
                meta = topics.load(name)
            except ShmqError as error:
                if names is not None and error.error_code == 3:
                    raise
                yield Finding(name, -1, str(error))
                continue
            for number in range(meta.partitions):
                yield _checked(process, meta.partition_directory(number), name, number, meta.topic_id)


def _checked(process: _native.Process, directory: str, topic: str, number: int, topic_id: int) -> Finding:
    try:
        partition = _native.Partition(process, directory, topic, number, topic_id)
        broken = partition.verify()
        if broken is not None:
            path, what, pos = broken
            return Finding(topic, number, what, path, pos)
        return Finding(topic, number, census=partition.census())
    except ShmqError as error:
        return Finding(topic, number, str(error), directory)
