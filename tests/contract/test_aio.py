"""shmq.aio: the loop is never held up, and a cancelled task loses nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from shmq import ConsumerRebalanceListener, TopicPartition, aio, errors

DEADLINE_S = 20


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, DEADLINE_S))


def test_what_is_sent_is_got_one_by_one_and_many_at_once(broker):
    broker.create(partitions=2)

    async def main():
        async with (
            aio.Producer(bootstrap_servers=broker.address) as producer,
            aio.Consumer("t", bootstrap_servers=broker.address, auto_offset_reset="earliest") as consumer,
        ):
            place = await producer.send_and_wait("t", b"0", partition=1)
            for number in range(1, 6):
                await producer.send("t", b"%d" % number, partition=1)
            assert await producer.partitions_for("t") == {0, 1}
            first = await consumer.getone()
            assert (place.partition, place.offset, first.value) == (1, 0, b"0")
            assert await consumer.position(TopicPartition("t", 1)) == 1
            rest = await consumer.getmany(timeout_ms=1000)
            assert [record.value for record in rest[TopicPartition("t", 1)]] == [b"1", b"2", b"3", b"4", b"5"]
            assert await consumer.getmany(timeout_ms=1) == {}
            await consumer.seek(TopicPartition("t", 1), 4)
            assert (await consumer.getone(TopicPartition("t", 1))).value == b"4"
            assert await consumer.end_offsets([TopicPartition("t", 1)]) == {TopicPartition("t", 1): 6}

    run(main())


def test_iteration_goes_on_for_ever_and_the_loop_runs_meanwhile(broker):
    broker.create()

    async def main():
        got = []
        async with (
            aio.Producer(bootstrap_servers=broker.address) as producer,
            aio.Consumer("t", bootstrap_servers=broker.address, auto_offset_reset="earliest") as consumer,
        ):

            async def read():
                async for record in consumer:
                    got.append(int(record.value))
                    if len(got) == 100:
                        return

            reading = asyncio.create_task(read())
            for number in range(100):
                await producer.send("t", b"%d" % number)
                if number % 10 == 0:
                    await asyncio.wait({reading}, timeout=0.002)
            await reading
        assert got == list(range(100))

    run(main())


def test_a_cancelled_wait_loses_no_record_and_leaves_at_once(broker):
    broker.create()
    producer = broker.producer()

    async def main():
        got = []
        async with aio.Consumer("t", bootstrap_servers=broker.address, auto_offset_reset="earliest") as consumer:
            for number in range(50):
                waiting = asyncio.create_task(consumer.getone())
                await asyncio.wait({waiting}, timeout=0.001)
                producer.send("t", b"%d" % number)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    got.append(int((await waiting).value))
            while len(got) < 50:
                got.append(int((await consumer.getone()).value))
        assert got == list(range(50))

    run(main())


def test_members_of_a_group_commit_what_was_handed_out_and_no_more(broker):
    place = broker.create()
    producer = broker.producer()
    for number in range(10):
        producer.send("t", b"%d" % number)
    configs = {"bootstrap_servers": broker.address, "group_id": "g", "auto_offset_reset": "earliest"}
    told = []

    class Listener(ConsumerRebalanceListener):
        async def on_partitions_assigned(self, assigned):
            told.append(("assigned", list(assigned)))

        async def on_partitions_revoked(self, revoked):
            told.append(("revoked", list(revoked)))

    async def main():
        async with aio.Consumer(**configs) as consumer:
            await consumer.subscribe(["t"], listener=Listener())
            assert [int((await consumer.getone()).value) for _ in range(3)] == [0, 1, 2]
            await consumer.commit()
            assert await consumer.committed(place) == 3
            assert int((await consumer.getone()).value) == 3
        async with aio.Consumer("t", **configs) as consumer:
            assert int((await consumer.getone()).value) == 4

    run(main())
    assert told == [("assigned", [place]), ("revoked", [place])]


def test_another_call_does_not_wait_for_records(broker):
    place = broker.create()

    async def main():
        async with aio.Consumer("t", bootstrap_servers=broker.address) as consumer:
            waiting = asyncio.create_task(consumer.getone())
            await asyncio.wait({waiting}, timeout=0.01)
            assert await asyncio.wait_for(consumer.assignment(), 5) == {place}
            assert not waiting.done()
            waiting.cancel()

    run(main())


def test_a_full_topic_holds_up_the_sender_and_not_the_loop_and_order_is_kept(broker):
    place = broker.create_queue()

    async def main():
        configs = {"bootstrap_servers": broker.address, "auto_offset_reset": "earliest"}
        async with aio.Consumer(**configs) as consumer, aio.Producer(bootstrap_servers=broker.address) as producer:
            await consumer.assign([place])

            async def send():
                for number in range(30):
                    await producer.send("t", b"%d " % number + b"x" * 20_000)

            sending = asyncio.create_task(send())
            await asyncio.wait({sending}, timeout=0.05)
            assert not sending.done()
            got = [int((await consumer.getone()).value.split()[0]) for _ in range(30)]
            await sending
        assert got == list(range(30))

    run(main())


def test_errors_come_where_they_belong(broker):
    async def main():
        with pytest.raises(errors.IllegalStateError, match="not started"):
            await aio.Consumer("t", bootstrap_servers=broker.address).getone()
        with pytest.raises(errors.IllegalStateError, match="not started"):
            await aio.Producer(bootstrap_servers=broker.address).send("t", b"v")
        with pytest.raises(errors.KafkaConfigurationError):
            await aio.Consumer("t", bootstrap_servers=broker.address, nonsense=1).start()
        with pytest.raises(errors.UnknownTopicOrPartitionError):
            async with aio.Producer(bootstrap_servers=broker.address, allow_auto_create_topics=False) as producer:
                await producer.send("none", b"v")
        async with aio.Consumer(bootstrap_servers=broker.address) as consumer:
            with pytest.raises(errors.IllegalStateError, match="started already"):
                await consumer.start()

    run(main())


def test_a_call_of_another_task_never_waits_for_a_wait_that_is_just_beginning(broker):
    broker.create()

    async def main():
        async with aio.Consumer("t", bootstrap_servers=broker.address) as consumer:
            waiting = asyncio.create_task(consumer.getone())
            for _ in range(20):
                await asyncio.wait({waiting}, timeout=0)
                assert await consumer.assignment() == {TopicPartition("t", 0)}
            waiting.cancel()

    run(main())
