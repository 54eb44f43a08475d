"""A typed topic as a torch dataset, which the workers of a DataLoader share.

Owns: which partitions a worker reads, and making items into tensors.
Must never: be imported where torch is not wanted, or give a tensor that could write into the log.
Sits: over consumer. Source: torch.utils.data.IterableDataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from shmq.consumer import Consumer
from shmq.errors import IllegalArgumentError, TopicTypeError
from shmq.types import TopicPartition


class TopicDataset(IterableDataset[torch.Tensor]):
    """The items of a typed topic, each as a tensor of the topic's shape.

    Each worker of a DataLoader reads partitions of its own, by turns: of 8 partitions and 3 workers the first reads 0,
    3 and 6. So a topic with as many partitions as workers, or a multiple, keeps them all busy; a worker without one
    ends at once. Iterating begins anew where `auto_offset_reset` says (default here: "earliest"), and ends when nothing
    came for `consumer_timeout_ms`.

    Args:
        topic: A typed topic whose items are of one shape.
        max_items: Items that are taken, and copied, at once.
        **configs: As for `Consumer`; no group. `consumer_timeout_ms` is needed unless it shall never end.

    Raises:
        IllegalArgumentError: `group_id` was given.
        TopicTypeError: once it is iterated: items that no tensor can hold, such as of a structured dtype, or whose
            length varies.
        UnknownTopicOrPartitionError, NotABrokerError and others: as `Consumer`, once it is iterated.

    A tensor owns a copy: torch has no read-only tensors.
    """

    def __init__(self, topic: str, *, max_items: int = 1024, **configs: Any) -> None:
        if "group_id" in configs:
            raise IllegalArgumentError("group_id has no meaning here: workers share the partitions by their number")
        self.topic, self.max_items = topic, max_items
        self.configs = {"auto_offset_reset": "earliest", **configs}

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        with Consumer(**self.configs) as consumer:
            partitions = sorted(consumer.partitions_for_topic(self.topic) or {0})[number::workers]
            if not partitions:
                return
            consumer.assign([TopicPartition(self.topic, each) for each in partitions])
            timeout_ms = consumer.config.consumer_timeout_ms
            while batches := consumer.poll_arrays(timeout_ms, self.max_items):
                for batch in batches.values():
                    yield from self._tensors(batch.items)

    def _tensors(self, items: Any) -> torch.Tensor:
        if isinstance(items, list):
            raise TopicTypeError(self.topic, "items of varying length", "of one shape", "use poll_arrays()")
        try:
            return torch.from_numpy(items.copy())
        except TypeError:
            advice = "use poll_arrays(), or a topic of plain numbers"
            raise TopicTypeError(self.topic, f"items of {items.dtype}", "of a dtype of torch's", advice) from None
