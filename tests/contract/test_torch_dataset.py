"""A typed topic as a torch dataset."""

from __future__ import annotations

import numpy as np
import pytest

from shmq.errors import IllegalArgumentError, TopicTypeError, UnknownTopicOrPartitionError

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from shmq.pipelines.torch import TopicDataset  # noqa: E402

TYPED = {"dtype": "float32", "shape": "4", "storage": "memory"}


def vectors(count: int) -> np.ndarray:
    return np.arange(4 * count, dtype=np.float32).reshape(count, 4)


def fill(broker, partitions: int, count: int) -> None:
    broker.create("t", partitions, **TYPED)
    producer = broker.producer()
    for number in range(partitions):
        producer.send_array("t", vectors(count)[number::partitions].copy(), partition=number)


def dataset(broker, **configs) -> TopicDataset:
    return TopicDataset("t", bootstrap_servers=broker.address, consumer_timeout_ms=100, **configs)


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_workers_share_the_partitions_and_every_item_comes_once(broker, workers):
    fill(broker, partitions=2, count=100)

    batches = list(DataLoader(dataset(broker), batch_size=10, num_workers=workers))

    found = torch.cat(batches).numpy()
    np.testing.assert_array_equal(found[np.argsort(found[:, 0])], vectors(100))


def test_a_tensor_owns_its_items(broker):
    fill(broker, partitions=1, count=3)

    first = next(iter(dataset(broker)))
    first += 1

    np.testing.assert_array_equal(next(iter(dataset(broker))).numpy(), vectors(1)[0])


def test_it_can_be_iterated_again(broker):
    fill(broker, partitions=1, count=5)
    items = dataset(broker, max_items=2)

    assert [len(list(items)), len(list(items))] == [5, 5]


def test_what_it_cannot_read_is_an_error(broker):
    with pytest.raises(IllegalArgumentError, match="group_id"):
        dataset(broker, group_id="g")
    with pytest.raises(UnknownTopicOrPartitionError):
        next(iter(dataset(broker, allow_auto_create_topics=False)))
    broker.create("t")
    broker.producer().send("t", b"no item")
    with pytest.raises(TopicTypeError):
        next(iter(dataset(broker)))


@pytest.mark.parametrize(
    ("configs", "item"),
    [
        ({"dtype": "x:f4,y:i8"}, np.zeros((), [("x", "f4"), ("y", "i8")])),
        ({"dtype": "float32", "shape": "*"}, np.zeros(3, np.float32)),
    ],
    ids=["structured", "varying"],
)
def test_items_that_no_tensor_can_hold_are_an_error(broker, configs, item):
    broker.create("t", **configs)
    broker.producer().send("t", item)

    with pytest.raises(TopicTypeError, match=r"use poll_arrays\(\)"):
        next(iter(dataset(broker)))
