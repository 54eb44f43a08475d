"""One who takes records through a window with nothing but the core in between."""

from __future__ import annotations

from typing import Any

from shmq import Admin, TopicPartition, _native
from shmq.store import Topics

PLACE = TopicPartition("t", 0)


class WindowTaker(_native.ConsumerCore):
    """Takes records of partition 0 of topic "t".

    Args:
        admin: Of the broker; may be closed afterwards.
        path: The window's.
        group: The number of its group.
        lock_ms: As ConsumerCore's.
        value_deserializer: As ConsumerCore's.
    """

    def __init__(
        self, admin: Admin, path: str, group: int, *, lock_ms: int = 0, value_deserializer: Any = None
    ) -> None:
        super().__init__(
            max_poll_records=500,
            fetch_min_bytes=1,
            fetch_max_wait_ms=500,
            fetch_max_bytes=1 << 30,
            max_partition_fetch_bytes=1 << 30,
            spin_us=0,
            iteration_timeout_ms=0.0,
            key_deserializer=None,
            value_deserializer=value_deserializer,
        )
        meta = Topics(admin.broker).find("t")
        self._process = _native.Process(admin.broker.directory, admin.broker.instance)
        self.partition: Any = _native.Partition(self._process, meta.partition_directory(0), "t", 0, meta.topic_id)
        self.window = _native.Window(path, meta.topic_id, 0)
        self.reader = _native.Reader(self.partition, PLACE)
        self.reader.share(self.window, group)
        self._readers.append(self.reader)
        self._lock_ms = lock_ms

    def _checked_timeout(self, timeout_ms: float) -> float:
        return timeout_ms

    def end(self) -> None:
        """Let go of everything."""
        self.reader.close()
        self._shut()
        self._process.close()
        del self.partition, self.window, self.reader  # their mappings go with them
