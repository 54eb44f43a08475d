"""What a consumer calls when partitions come and go.

Owns: the listener's interface.
Must never: know a group.
Sits: left of the consumer. Source: ConsumerRebalanceListener of kafka-python.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from shmq.types import TopicPartition


class ConsumerRebalanceListener(ABC):
    """Told by `poll`, in its thread, which partitions come and go; it may use the consumer, except to close it.

    Partitions that stay are never mentioned, and never pause: only what moves is revoked and assigned.
    """

    @abstractmethod
    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """These go to another member, or the consumer is closing; they can still be committed."""

    @abstractmethod
    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """These have come; their positions can still be changed before they are read. May be empty: nothing to do."""

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        """These have gone to another member already, since this one was taken for hung; no commit is possible."""
        self.on_partitions_revoked(lost)
