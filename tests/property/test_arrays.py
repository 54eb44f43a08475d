"""Typed topics against a list: whatever is sent, in whatever way, is what is read, however it is asked for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmq import TopicPartition
from shmq.errors import TopicTypeError

SHAPES = ["", "3", "7,5", "1000"]
"""Of int64: items of 8, 24, 280 and 8000 bytes: smaller and larger than a unit, and a handful in a segment."""
_topics = itertools.count()

keys = st.one_of(st.none(), st.binary(max_size=5))


@dataclass(frozen=True)
class Step:
    """One call of a producer: `way` with so many items."""

    way: str
    count: int
    has_keys: bool


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(["send", "send", "send_many", "send_array", "send_array", "reserve", "given up", "open"]),
        st.sampled_from([1, 1, 1, 2, 3, 10, 40]),
        st.booleans(),
    ),
    max_size=30,
)
most_items = st.lists(st.sampled_from([1, 2, 3, 7, 100]), min_size=1, max_size=4)


def numbers_of(items: np.ndarray) -> list[int]:
    """Each item's number, which stands in each of its places."""
    flat = items.reshape(len(items), -1)
    assert (flat == flat[:, :1]).all()
    return flat[:, 0].tolist()


class Sender:
    """Sends numbered items; `keys` and `stamps` say what a reader must find."""

    def __init__(self, producer: Any, topic: str, shape: tuple[int, ...]) -> None:
        self.producer, self.topic, self.shape = producer, topic, shape
        self.keys: list[bytes | None] = []
        self.stamps: list[int] = []
        self.numbers: list[int] = []
        self.open: list[Any] = []
        self._next = 0

    def values(self, count: int) -> np.ndarray:
        self._next += count
        first = np.arange(self._next - count, self._next).reshape(count, *(1 for _ in self.shape))
        return np.ascontiguousarray(np.broadcast_to(first, (count, *self.shape)))

    def expect(self, values: np.ndarray, sent_keys: list[bytes] | None, stamp: int) -> None:
        self.numbers += numbers_of(values)
        self.keys += sent_keys or [None] * len(values)
        self.stamps += [stamp] * len(values)

    def act(self, step: Step, stamp: int) -> None:
        values = self.values(1 if step.way == "send" else step.count)
        sent_keys = [b"%d" % number for number in range(len(values))] if step.has_keys else None
        if step.way == "send":
            self.producer.send(self.topic, values[0], key=sent_keys and sent_keys[0], timestamp_ms=stamp)
        elif step.way == "send_many":
            self.producer.send_many(self.topic, list(values), sent_keys, timestamp_ms=stamp)
        elif step.way == "send_array":
            self.producer.send_array(self.topic, values, sent_keys, timestamp_ms=stamp)
        else:
            self.reserve(step, values, sent_keys, stamp)
            return
        self.expect(values, sent_keys, stamp)

    def reserve(self, step: Step, values: np.ndarray, sent_keys: list[bytes] | None, stamp: int) -> None:
        count = min(len(values), max(1, 40_000 // values[0].nbytes))  # what one segment can hold
        values, sent_keys = values[:count], sent_keys and sent_keys[:count]
        reserved = self.producer.reserve(self.topic, count, keys=sent_keys, timestamp_ms=stamp)
        reserved.__enter__()[...] = values
        if step.way == "given up":
            reserved.__exit__(ValueError, ValueError(), None)
        elif step.way == "open":
            self.open.append((reserved, values, sent_keys, stamp))
        else:
            reserved.__exit__(None, None, None)
            self.expect(values, sent_keys, stamp)

    def publish_the_rest(self) -> None:
        for reserved, values, sent_keys, stamp in self.open:
            reserved.__exit__(None, None, None)
            self.expect(values, sent_keys, stamp)


@pytest.mark.parametrize("storage", ["memory", "disk"])
@settings(max_examples=40)
@given(st.sampled_from(SHAPES), steps, most_items)
def test_what_is_read_is_what_was_sent_in_whatever_pieces(broker, storage, shape, steps, most_items):
    topic = f"t{next(_topics)}"
    broker.create(topic, dtype="int64", shape=shape, storage=storage, segment_bytes=65536, retention_bytes=64 << 20)
    with broker.producer() as producer, broker.consumer(topic) as consumer:
        sender = Sender(producer, topic, tuple(int(each) for each in shape.split(",") if each))

        for stamp, step in enumerate(steps):
            sender.act(step, stamp)
        sender.publish_the_rest()

        batches = []
        most = itertools.cycle(most_items)
        while found := consumer.poll_arrays(max_items=next(most)):
            batches += found.values()
        numbers = [number for batch in batches for number in numbers_of(batch.items)]
        assert numbers == sender.numbers
        assert [offset for batch in batches for offset in batch.offsets.tolist()] == list(range(len(numbers)))
        assert [stamp for batch in batches for stamp in batch.timestamps.tolist()] == sender.stamps
        assert [key for batch in batches for key in batch.keys or [None] * len(batch)] == sender.keys
        assert all(batch.in_place for batch in batches)
        del batches
        records = broker.read(topic)
        assert [int.from_bytes(record.value[:8], "little") for record in records] == numbers
        assert [record.key for record in records] == sender.keys
        consumer.seek(TopicPartition(topic, 0), len(numbers) // 2)
        with pytest.raises(TopicTypeError):
            producer.send(topic, b"")
        found = consumer.poll_arrays(max_items=1)
        assert [batch.offsets.tolist() for batch in found.values()] == ([[len(numbers) // 2]] if numbers else [])
