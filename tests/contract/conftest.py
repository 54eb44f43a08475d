"""What more than one file of tests needs to begin with."""

from __future__ import annotations

import gc
from multiprocessing import forkserver, resource_tracker

import pool_tasks
import pytest
import share_workers

from shmq import TopicPartition


@pytest.fixture
def places(broker):
    """Topic "t" of three partitions, with 0, 1, 2 in the first, 10, 11, 12 in the second, and so on."""
    broker.create(partitions=3)
    producer = broker.producer()
    for partition in range(3):
        producer.send_many("t", [b"%d" % (10 * partition + number) for number in range(3)], partition=partition)
    return [TopicPartition("t", partition) for partition in range(3)]


@pytest.fixture
def ten_records(broker):
    """Topic "t" with the numbers 0 to 9."""
    broker.create()
    share_workers.send(broker, 10)


@pytest.fixture(scope="module")
def helpers_of_multiprocessing():
    """Its two helper processes, which it starts when they are first needed and never ends."""
    forkserver.ensure_running()
    yield
    forkserver._forkserver._stop()
    gc.collect()  # else it takes away locks that are only unreachable yet
    resource_tracker._resource_tracker._stop()


@pytest.fixture
def gate(tmp_path):
    """What the tasks of a pool can wait for; open at the end of the test."""
    gate = pool_tasks.Gate(tmp_path / "gate")
    yield gate
    gate.open()
