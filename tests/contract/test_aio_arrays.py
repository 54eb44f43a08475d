"""Arrays in asyncio."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest

from shmq import TopicPartition
from shmq.aio import Consumer, Producer
from shmq.errors import TopicTypeError

PLACE = TopicPartition("t", 0)


@pytest.fixture
def options(broker):
    broker.create(dtype="int64")
    return {"bootstrap_servers": broker.address}


def numbers(batches):
    return [int(each) for batch in batches.values() for each in batch.items]


def test_arrays_are_sent_and_polled(options):
    async def main():
        async with Producer(**options) as producer, Consumer("t", auto_offset_reset="earliest", **options) as consumer:
            [placed] = await producer.send_array("t", np.arange(5), timestamp_ms=3)
            first = await consumer.poll_arrays(timeout_ms=20_000, max_items=2)
            rest = await consumer.poll_arrays(timeout_ms=20_000)
            none = await consumer.poll_arrays()
            return placed, first, rest, none

    placed, first, rest, none = asyncio.run(main())

    assert placed == ("t", 0, 0, 5, 3)
    assert (numbers(first), numbers(rest), none) == ([0, 1], [2, 3, 4], {})
    assert first[PLACE].in_place


def test_space_is_reserved_and_filled_in_place(options):
    async def main():
        async with Producer(**options) as producer, Consumer("t", auto_offset_reset="earliest", **options) as consumer:
            reserved = producer.reserve("t", 3)
            async with reserved as array:
                array[:] = [4, 5, 6]
            with pytest.raises(ZeroDivisionError):
                async with producer.reserve("t", 3) as array:
                    raise ZeroDivisionError
            return reserved.metadata, await consumer.poll_arrays(timeout_ms=20_000), await consumer.poll_arrays()

    metadata, found, none = asyncio.run(main())

    assert metadata[:4] == ("t", 0, 0, 3)
    assert (numbers(found), none) == ([4, 5, 6], {})


def test_an_array_that_does_not_fit_is_refused(options):
    async def main():
        async with Producer(**options) as producer:
            await producer.send_array("t", np.zeros(3))

    with pytest.raises(TopicTypeError, match="convert it"):
        asyncio.run(main())


def test_a_wait_that_is_cancelled_loses_no_item(options):
    async def main():
        async with Producer(**options) as producer, Consumer("t", auto_offset_reset="earliest", **options) as consumer:
            waiting = asyncio.ensure_future(consumer.poll_arrays(timeout_ms=60_000))
            await producer.send_array("t", np.arange(5))
            waiting.cancel()
            found = []
            with contextlib.suppress(asyncio.CancelledError):
                found += numbers(await waiting)
            while batches := await consumer.poll_arrays():
                found += numbers(batches)
            return found

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_records_that_were_fetched_and_not_handed_out_come_as_arrays(options):
    async def main():
        async with Producer(**options) as producer, Consumer("t", auto_offset_reset="earliest", **options) as consumer:
            await producer.send_array("t", np.arange(5))
            first = await consumer.getone()
            return int.from_bytes(first.value, "little"), numbers(await consumer.poll_arrays(timeout_ms=20_000))

    assert asyncio.run(main()) == (0, [1, 2, 3, 4])
