"""What a coordinator does for partitions that nobody else does in time: spare segments, and retention.

Owns: which partitions are open here, and how often each thing is done.
Must never: be needed: producers prepare their own segments, and apply retention when they roll.
Sits: over the native core; under the service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from shmq import _native
from shmq.errors import ShmqError
from shmq.store import Broker, TopicMeta, open_partition

_log = logging.getLogger(__name__)

RETENTION_EVERY_S = 5.0
Key = tuple[int, int]


class Upkeep:
    """The partitions of a broker, looked after."""

    def __init__(self, broker: Broker) -> None:
        self._process = _native.Process(broker.directory, broker.instance)
        self._partitions: dict[Key, _native.Partition] = {}
        self._retention_at = 0.0

    def look_after(self, metas: Iterable[TopicMeta]) -> None:
        """Prepare a segment where one will be needed soon; now and then let go what retention does not keep."""
        wanted = {(meta.topic_id, number): (meta, number) for meta in metas for number in range(meta.partitions)}
        for key in self._partitions.keys() - wanted.keys():
            del self._partitions[key]
        now = time.monotonic()
        is_time = now >= self._retention_at
        if is_time:
            self._retention_at = now + RETENTION_EVERY_S
        for key, (meta, number) in wanted.items():
            try:
                partition = self._partitions.get(key) or self._open(key, meta, number)
                partition.prepare_spare()
                if is_time:
                    partition.apply_retention()
            except ShmqError as error:  # damaged, full, or just deleted: whoever uses it is told, too
                self._partitions.pop(key, None)
                _log.warning("%s-%d: %s", meta.name, number, error)

    def close(self) -> None:
        """Let go of all."""
        self._partitions.clear()
        self._process.close()

    def _open(self, key: Key, meta: TopicMeta, number: int) -> _native.Partition:
        partition = self._partitions[key] = open_partition(self._process, meta, number)
        return partition
