"""What a victim does when it dies: one scenario for each thing that a producer, a reader or an administrator can do.

Owns: the bodies, and the state of the topic in which each begins.
Must never: judge; `stage` runs a scenario and looks at what is left.
Sits: over `crew`.

A scenario is run again and again, with its victim dying at the 1st, 2nd, 3rd ... fault point between `act.arm()` and
`act.disarm()`, so it must pass the same points each time: survivors are idle until then, or asleep.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crew import KILLED, Act, Victim, wait_for

from shmq import Admin, Consumer, Producer, TopicPartition, _native
from shmq.store import Topics

if TYPE_CHECKING:
    from stage import Stage

SEGMENT_BYTES = 65536
HALF = 20_000  # two values of this size fill a small segment
ITEM = 100
BLOCK_MS = 2000
CLAIM_POINT = "journal.claim.after"
READERS_WAITING, PRODUCERS_WAITING = 512, 640  # where the bitmaps lie in a control file: layout.h


def nothing(stage: Stage, topic: str) -> None:
    """Prepare nothing."""


def no_help(stage: Stage, topic: str, victim: Victim) -> None:
    """Do nothing while the victim is at work."""


@dataclass(frozen=True)
class Scenario:
    """One thing to die over.

    Attributes:
        body: Runs in the victim.
        prepare: Runs before the victim is there.
        meanwhile: Runs while the victim is at work.
        configs: Topic options beside those of `stage`.
        slots: Process slots of the broker.
        batch: Records of the one append that may be there without being acknowledged.
        must: Was the run as it should be? If not it is tried again.
        holds: Does a victim that is stopped, but alive, rightly hold up the writer?
    """

    body: Callable[[Act], None]
    prepare: Callable[[Stage, str], None] = nothing
    meanwhile: Callable[[Stage, str, Victim], None] = no_help
    configs: dict[str, Any] = field(default_factory=dict)
    slots: int = 1024
    batch: int = 1
    must: str = ""
    holds: bool = False


CONSUMED = {"retention": "consumed", "retention_bytes": 2 * SEGMENT_BYTES}
FEW = {"retention_bytes": 3 * SEGMENT_BYTES}
LARGE = {"segment_bytes": 18 << 20, "retention_bytes": 36 << 20, "max_message_bytes": 9 << 20}


# -- what a victim does ----------------------------------------------------------------------------------------------


def _producer(act: Act, **configs: Any) -> Producer:
    return Producer(bootstrap_servers=act.address, **configs)


def _consumer(act: Act, **configs: Any) -> Consumer:
    return Consumer(bootstrap_servers=act.address, auto_offset_reset="earliest", spin_us=0, **configs)


def append(act: Act) -> None:
    with _producer(act) as producer:
        producer.partitions_for(act.topic)
        act.arm()
        act.send(producer)
        act.disarm()


def append_batch(act: Act) -> None:
    with _producer(act) as producer:
        producer.partitions_for(act.topic)
        act.arm()
        act.send_many(producer, 5)
        act.disarm()


def append_lingering(act: Act) -> None:
    with _producer(act, linger_ms=60_000) as producer:
        producer.partitions_for(act.topic)
        act.arm()
        futures = [producer.send(act.topic, value) for value in act.values(5)]
        producer.flush()
        act.sent(sum(future.get(0) is not None for future in futures))
        act.disarm()


def roll(act: Act) -> None:
    with _producer(act) as producer:
        act.send(producer, 2, HALF)
        act.arm()
        act.send(producer, 1, HALF)
        act.disarm()


def roll_far(act: Act) -> None:
    with _producer(act) as producer:
        producer.partitions_for(act.topic)
        act.arm()
        act.send(producer, 3, HALF)
        act.disarm()


def append_when_taken_for_dead(act: Act) -> None:
    with _producer(act, max_request_size=9 << 20) as producer:
        act.send(producer)
        lose_lock(act.address)
        act.arm()
        act.send(producer, 1, 8 << 20)
        act.disarm()
        act.tell(f"retried {producer.metrics()['producer-metrics']['record-retry-total']:.0f}")


def fork_with_a_pin(act: Act) -> None:
    with _consumer(act) as consumer:
        consumer.assign([TopicPartition(act.topic, 0)])
        consumer.poll(5000)
        act.arm()
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        act.disarm()


def register(act: Act) -> None:
    act.arm()
    with _producer(act) as producer:
        act.disarm()
        act.send(producer)


def close_producer(act: Act) -> None:
    with _producer(act) as producer, _consumer(act) as consumer:
        act.send(producer)
        consumer.assign([TopicPartition(act.topic, 0)])
        consumer.poll(timeout_ms=1)
        act.arm()
    act.disarm()


def append_half(act: Act) -> None:
    with _producer(act) as producer:
        act.arm()
        act.send(producer, 1, HALF)
        act.disarm()


def read(act: Act) -> None:
    with _consumer(act) as consumer:
        consumer.assign([TopicPartition(act.topic, 0)])
        act.arm()
        act.read(consumer, 4)
        act.disarm()


def read_and_free_space(act: Act) -> None:
    with _consumer(act, max_poll_records=1) as consumer:
        consumer.assign([TopicPartition(act.topic, 0)])
        act.read(consumer, 1)
        act.wait_for_go()
        act.arm()
        act.read(consumer, 3)
        act.disarm()


def wait_for_record(act: Act) -> None:
    with _consumer(act) as consumer:
        consumer.assign([TopicPartition(act.topic, 0)])
        act.read(consumer, 2)
        act.arm()
        consumer.poll(timeout_ms=20)
        act.disarm()


def join_readers(act: Act) -> None:
    with _consumer(act) as consumer:
        act.arm()
        consumer.assign([TopicPartition(act.topic, 0)])
        act.disarm()
        act.read(consumer, 2)


def leave_readers(act: Act) -> None:
    with _consumer(act) as consumer:
        consumer.assign([TopicPartition(act.topic, 0)])
        act.read(consumer, 2)
        act.arm()
    act.disarm()


def read_in_another_thread(act: Act) -> None:
    with _consumer(act) as consumer:
        consumer.assign([TopicPartition(act.topic, 0)])
        act.arm()
        act.in_thread(lambda: act.read(consumer, 4))
        act.disarm()


@contextlib.contextmanager
def _partition(act: Act) -> Iterator[_native.Partition]:
    with Admin(bootstrap_servers=act.address) as admin:
        topics = Topics(admin.broker)
        with topics.opened(topics.find(act.topic)) as [partition]:
            yield partition


def append_items(act: Act) -> None:
    with _partition(act) as partition:
        appender = _native.Appender(partition)
        act.arm()
        appender.append_items(b"".join(act.values(5, ITEM)), 5, BLOCK_MS, [b"key", None, b"", b"k", b"y"])
        act.sent(5)
        act.disarm()


def _fill(act: Act, reservation: _native.Reservation, count: int, size: int) -> None:
    with memoryview(reservation) as room:
        room[:] = b"".join(act.values(count, size))


def reserve_and_publish(act: Act) -> None:
    with _partition(act) as partition:
        appender = _native.Appender(partition)
        act.arm()
        reservation = appender.reserve(5 * ITEM, 5, BLOCK_MS)
        _fill(act, reservation, 5, ITEM)
        reservation.publish(BLOCK_MS)
        act.sent(5)
        act.disarm()
        act.tell(f"copied {reservation.copied}")


def reserve_and_cancel(act: Act) -> None:
    with _partition(act) as partition:
        appender = _native.Appender(partition)
        act.arm()
        reservation = appender.reserve(5 * ITEM, 5, BLOCK_MS)
        _fill(act, reservation, 5, ITEM)
        reservation.cancel()
        act.disarm()


def reserve_and_publish_elsewhere(act: Act) -> None:
    """Others fill the segment while it holds the reservation."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # it may be let go before it waits
    with _partition(act) as partition:
        appender = _native.Appender(partition)
        act.arm()
        reservation = appender.reserve(HALF, 1, BLOCK_MS)
        _fill(act, reservation, 1, HALF)
        act.wait_for_go()
        reservation.publish(BLOCK_MS)
        act.sent(1)
        act.disarm()
        act.tell(f"copied {reservation.copied}")


def prepare_spare(act: Act) -> None:
    with _partition(act) as partition:
        act.arm()
        made = partition.prepare_spare()
        act.disarm()
        act.tell(f"made {made}")


def delete_records(act: Act) -> None:
    with _partition(act) as partition:
        act.arm()
        partition.delete_records(-1)
        act.disarm()


def apply_retention(act: Act) -> None:
    with _partition(act) as partition:
        act.arm()
        partition.apply_retention()
        act.disarm()


# -- what it begins with ---------------------------------------------------------------------------------------------


def some_records(stage: Stage, topic: str) -> None:
    stage.write(topic, 2)


def watcher_asleep(stage: Stage, topic: str) -> None:
    """The watching survivor sleeps, and its bit is set."""
    stage.write(topic, 1)
    stage.watch(topic)
    stage.watcher.cast("sleep_until_record")
    stage.asleep = True
    wait_for(lambda: is_anyone_waiting(stage, topic, READERS_WAITING), "the watcher to sleep")


def full_ring(stage: Stage, topic: str) -> None:
    """Two full segments, that the watcher has not read."""
    stage.write(topic, 4, HALF)


def full_ring_that_was_read(stage: Stage, topic: str) -> None:
    full_ring(stage, topic)
    stage.watch(topic)


def full_ring_with_waiting_writer(stage: Stage, topic: str) -> None:
    full_ring(stage, topic)
    stage.writer.cast("send", topic, 1, HALF)
    stage.writing = True
    wait_for(lambda: is_anyone_waiting(stage, topic, PRODUCERS_WAITING), "the writer to wait for space")


def read_ring(stage: Stage, topic: str) -> None:
    """Two full segments that the watcher has read, and that a dead reader has not."""
    full_ring_that_was_read(stage, topic)
    victim = Victim(lambda: join_readers(Act(stage.address, topic, 1, signal.SIGKILL, "readers.joined.after")))
    assert victim.wait() == KILLED
    victim.close()


def half_full(stage: Stage, topic: str) -> None:
    """One segment, in which there is no room for another half."""
    stage.write(topic, 2, HALF)


def spare(stage: Stage, topic: str) -> None:
    """The same, and a spare."""
    half_full(stage, topic)
    with stage.partition(topic) as partition:
        assert partition.prepare_spare()


def half_a_spare(stage: Stage, topic: str) -> None:
    """The same, and one that a dead process was making."""
    half_full(stage, topic)
    victim = Victim(lambda: prepare_spare(Act(stage.address, topic, 1, signal.SIGKILL, "segment.create.after")))
    assert victim.wait() == KILLED
    victim.close()


def dead_tenant(stage: Stage, topic: str) -> None:
    """The last process slot that the survivors leave was another's, who died in it."""
    victim = Victim(lambda: register(Act(stage.address, topic, 1, signal.SIGKILL, "procs.tenancy.after")))
    assert victim.wait() == KILLED
    victim.close()


def claim_of_the_dead(stage: Stage, topic: str) -> None:
    """Two records and the claim of a producer that is gone."""
    stage.write(topic, 2)
    victim = Victim(lambda: append(Act(stage.address, topic, 1, signal.SIGKILL, CLAIM_POINT)))
    assert victim.wait() == KILLED
    victim.close()
    stage.write(topic, 2)


# -- what happens meanwhile ------------------------------------------------------------------------------------------


def read_to_make_space(stage: Stage, topic: str, victim: Victim) -> None:
    """Read once the victim waits for space, so that it can go on."""
    wait_for(
        lambda: victim.stopped_or_told("sent") or is_anyone_waiting(stage, topic, PRODUCERS_WAITING), "a word from it"
    )
    stage.watch(topic)


def read_before_it_does(stage: Stage, topic: str, victim: Victim) -> None:
    """Read all, so that the victim is the last to hold the oldest segment."""
    wait_for(lambda: victim.stopped_or_told("waiting for go"), "the victim to read")
    stage.watch(topic)
    stage.watcher.call("catch_up")
    victim.go()


def fill_its_segment(stage: Stage, topic: str, victim: Victim) -> None:
    """Let the writer roll once the victim has reserved, and let it go on."""
    wait_for(lambda: victim.stopped_or_told("waiting for go"), "the victim to reserve")
    stage.write(topic, 2, HALF)
    victim.go()


def roll_without_it(stage: Stage, topic: str, victim: Victim) -> None:
    """Let the writer roll while the victim is stopped, dead or done."""
    wait_for(lambda: victim.stopped_or_told("made"), "the victim to make a spare")
    stage.write(topic, 1, HALF)


def heal_it(stage: Stage, topic: str, victim: Victim) -> None:
    """Give up its claim, while it copies."""
    stage.watcher.call("read_until_healed", 0.5)


# -- what they need --------------------------------------------------------------------------------------------------


def lose_lock(address: str) -> None:
    """What a library that looks into every file does to this process: POSIX locks go with any descriptor."""
    os.close(os.open(f"{address.removeprefix('shm://')}/procs.lock", os.O_RDONLY))


def is_anyone_waiting(stage: Stage, topic: str, bitmap_pos: int) -> bool:
    with (
        open(stage.directory(topic) / "control", "rb") as file,
        mmap.mmap(file.fileno(), 4096, access=mmap.ACCESS_READ) as control,
    ):
        return any(control[bitmap_pos : bitmap_pos + 128])


SCENARIOS = {
    "first append": Scenario(append),
    "append": Scenario(append, watcher_asleep),
    "batch": Scenario(append_batch, watcher_asleep, batch=5),
    "lingering batch": Scenario(append_lingering, batch=5),
    "items": Scenario(append_items, watcher_asleep, batch=5),
    "reservation": Scenario(reserve_and_publish, watcher_asleep, batch=5, must="copied False"),
    "first reservation": Scenario(reserve_and_publish, batch=5),
    "reservation that is given up": Scenario(reserve_and_cancel, some_records, batch=0),
    "reservation that rolls": Scenario(reserve_and_publish_elsewhere, half_full, fill_its_segment),
    "reservation that others overtook": Scenario(
        reserve_and_publish_elsewhere, some_records, fill_its_segment, must="copied True"
    ),
    "roll": Scenario(roll),
    "roll that retires": Scenario(roll_far, full_ring_that_was_read, configs=FEW),
    "roll over expired segments": Scenario(roll_far, full_ring_that_was_read, configs={"retention_ms": 1}),
    "roll that passes a dead reader": Scenario(append_half, read_ring, configs=CONSUMED),
    "preparing a spare": Scenario(prepare_spare, half_full, roll_without_it),
    "preparing another spare": Scenario(prepare_spare, half_a_spare, roll_without_it),
    "roll that takes a spare": Scenario(append_half, spare),
    "roll that cannot take a spare": Scenario(append_half, half_a_spare),
    "deleting records": Scenario(delete_records, full_ring_that_was_read, configs=CONSUMED),
    "applying retention": Scenario(apply_retention, full_ring_that_was_read, configs={"retention_ms": 1}),
    "append of one taken for dead": Scenario(
        append_when_taken_for_dead, meanwhile=heal_it, configs=LARGE, must="retried 1"
    ),
    "registration": Scenario(register),
    "registration in a dead process's slot": Scenario(register, dead_tenant, slots=3),
    "close": Scenario(close_producer),
    "waiting for space": Scenario(append_half, full_ring, read_to_make_space, CONSUMED),
    "read": Scenario(read, claim_of_the_dead),
    "read and register": Scenario(join_readers, some_records, configs=CONSUMED),
    "read and free space": Scenario(
        read_and_free_space, full_ring_with_waiting_writer, read_before_it_does, CONSUMED, holds=True
    ),
    "fork while a segment is pinned": Scenario(fork_with_a_pin, some_records),
    "read in another thread": Scenario(read_in_another_thread, full_ring, configs=CONSUMED),
    "wait for a record": Scenario(wait_for_record, some_records),
    "leave": Scenario(leave_readers, some_records, configs=CONSUMED),
}
