"""shmq.aio.ShareConsumer: the loop is never held up, and a cancelled task keeps no record from the others."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from share_workers import counts, place, send, some

from shmq import AcknowledgeType, aio, errors

DEADLINE_S = 20


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, DEADLINE_S))


def consumer_of(broker, **configs) -> aio.ShareConsumer:
    return aio.ShareConsumer("t", group_id="g", bootstrap_servers=broker.address, **configs)


def test_records_are_taken_one_by_one_and_many_at_once(broker):
    broker.create()
    send(broker, 10)

    async def main():
        async with consumer_of(broker) as consumer:
            first = await consumer.getone()
            rest = await consumer.getmany(timeout_ms=1000)
            assert await consumer.commit() == {place(): None}
            assert await consumer.getmany(timeout_ms=1) == {}
            assert await consumer.subscription() == {"t"}
            return [first, *rest[place()]]

    assert [int(record.value) for record in run(main())] == list(range(10))
    assert counts(broker) == some(accepted=10)


def test_iteration_accepts_what_came_before_and_the_loop_runs_meanwhile(broker):
    broker.create()

    async def main():
        async with consumer_of(broker) as consumer:

            async def read():
                async for record in consumer:
                    if record.value == b"49":
                        return

            reading = asyncio.create_task(read())
            for number in range(50):
                send(broker, 1, first=number)
                await asyncio.wait({reading}, timeout=0.001)
            await reading

    run(main())
    assert counts(broker) == some(accepted=49, ready=1)


def test_explicit_acknowledgements(broker):
    broker.create()
    send(broker, 3)

    async def main():
        async with consumer_of(broker, share_acknowledgement_mode="explicit") as consumer:
            batches = await consumer.getmany()
            for record, kind in zip(batches[place()], AcknowledgeType, strict=False):
                await consumer.acknowledge(record, kind)
            with pytest.raises(errors.IllegalStateError):
                await consumer.acknowledge(batches[place()][0])
            await consumer.commit()

    run(main())
    assert counts(broker) == some(accepted=1, ready=1, rejected=1)


def test_a_cancelled_wait_keeps_nothing_from_the_others(broker):
    broker.create()

    async def main():
        got = []
        async with consumer_of(broker) as consumer:
            for number in range(50):
                waiting = asyncio.create_task(consumer.getone())
                await asyncio.wait({waiting}, timeout=0.001)
                send(broker, 1, first=number)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    got.append(int((await waiting).value))
            while len(got) < 50:
                got.append(int((await consumer.getone()).value))
            await consumer.commit()
        assert sorted(got) == list(range(50))

    run(main())
    assert counts(broker) == some(accepted=50)


def test_acknowledging_in_another_task_ends_no_wait(broker):
    broker.create()

    async def main():
        async with consumer_of(broker) as consumer:
            waiting = asyncio.create_task(consumer.getone())
            for _ in range(20):
                await asyncio.wait({waiting}, timeout=0.001)
                await consumer.commit()
            send(broker, 1)
            assert (await waiting).value == b"0"

    run(main())


def test_callbacks_run_in_the_loop_and_may_be_coroutines(broker):
    broker.create()
    send(broker, 2)

    async def main():
        told = asyncio.Queue()

        async def callback(offsets, error):
            await told.put((offsets, error))

        async with consumer_of(broker) as consumer:
            await consumer.set_acknowledgement_commit_callback(callback)
            await consumer.getone()
            await consumer.getone()
            assert await told.get() == ({place(): {0}}, None)

    run(main())


def test_before_start_and_after_stop_it_says_so(broker):
    async def main():
        consumer = consumer_of(broker)
        with pytest.raises(errors.IllegalStateError, match="not started"):
            await consumer.getone()
        await consumer.start()
        await consumer.stop()
        await consumer.stop()
        with pytest.raises(errors.IllegalStateError, match="not started"):
            await consumer.commit()

    run(main())
