"""A topic that more than one file of tests reads."""

from __future__ import annotations

import pytest

from shmq import TopicPartition


@pytest.fixture
def places(broker):
    """Topic "t" of three partitions, with 0, 1, 2 in the first, 10, 11, 12 in the second, and so on."""
    broker.create(partitions=3)
    producer = broker.producer()
    for partition in range(3):
        producer.send_many("t", [b"%d" % (10 * partition + number) for number in range(3)], partition=partition)
    return [TopicPartition("t", partition) for partition in range(3)]
