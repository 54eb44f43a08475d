"""What the processes of a storm do: producers, readers that may die, an inspector, and witnesses that may not.

Owns: the bodies; each goes on until the `calm` descriptor says that it is over, and then ends well.
Must never: wait without a deadline, or take an error for a part of the storm.
Sits: over `account` and the package's public face.
"""

from __future__ import annotations

import itertools
import random
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from account import Pass, Told
from ledger import make_value

from shmq import Consumer, Producer, TopicPartition, _native
from shmq.errors import OffsetOutOfRangeError
from shmq.store import Topics, collect, open_broker

DEADLINE_S = 20.0  # two cores and a dozen processes
MOST_IN_APPEND = 20
SIZES = (1, 10, 100, 1000, 9000, 40_000)
SMALL_SIZES = (1, 100, 1000, 3000)
TURNS = 12  # of a producer, before it is armed anew
IN_AN_APPEND = ("journal.claim.after", "journal.commit.before")


@dataclass(frozen=True)
class Scene:
    """Where all of it happens.

    Attributes:
        address: The broker's.
        places: The partitions.
        told: A directory for what processes tell.
        calm: Can be read from (its end) once the storm is over.
    """

    address: str
    places: list[TopicPartition]
    told: Path
    calm: int

    def is_over(self, wait_s: float = 0.0) -> bool:
        return bool(select.select([self.calm], [], [], wait_s)[0])


def arm(rng: random.Random, *points: tuple[str | None, int]) -> None:
    """Mostly, be killed or stopped at a point and a pass up to that number; None is any point. Else at others' whim alone."""
    number = rng.choices((signal.SIGKILL, signal.SIGSTOP, None), (50, 35, 15))[0]
    if number is not None:
        point, most_passes = rng.choice(points)
        _native.fault_arm(point, rng.randint(1, most_passes), number)


# -- producers -------------------------------------------------------------------------------------------------------

Way = Callable[[Producer, TopicPartition, list[bytes]], list[int]]


def one_by_one(producer: Producer, place: TopicPartition, values: list[bytes]) -> list[int]:
    """Append each on its own; their offsets."""
    futures = [producer.send(place.topic, value, partition=place.partition) for value in values]
    return [future.get(timeout=DEADLINE_S).offset for future in futures]


def at_once(producer: Producer, place: TopicPartition, values: list[bytes]) -> list[int]:
    """Append all as one batch; their offsets."""
    batches = producer.send_many(place.topic, values, partition=place.partition)
    return [batch.base_offset + each for batch in batches for each in range(batch.count)]


def produce(scene: Scene, name: str, rng: random.Random) -> None:
    """Send to all places, in one way, and tell of each append when it is acknowledged."""
    way, linger_ms, most, sizes = rng.choice(
        [
            (one_by_one, 0, 1, SIZES),
            (at_once, 0, MOST_IN_APPEND, SMALL_SIZES),
            (one_by_one, 1, MOST_IN_APPEND, SMALL_SIZES),
        ]
    )
    pause_s = rng.choice((0.0, 0.002, 0.002, 0.002))
    sent = dict.fromkeys(scene.places, 0)
    told = Told(scene.told / name)
    with Producer(bootstrap_servers=scene.address, linger_ms=linger_ms, max_block_ms=1000 * DEADLINE_S) as producer:
        for turn in itertools.count():
            if scene.is_over(pause_s):
                break
            if turn % TURNS == 0:
                arm(rng, *[(point, TURNS) for point in (*IN_AN_APPEND, *IN_AN_APPEND)], (None, 10 * TURNS))
            place = rng.choice(scene.places)
            count = rng.randint(1, most)
            values = [make_value(name, sent[place] + each, rng.choice(sizes)) for each in range(count)]
            for offset in way(producer, place, values):
                told.sent(place, sent[place], offset, 1)
                sent[place] += 1
            metrics = producer.metrics()["producer-metrics"]
            told.count("retried", metrics["record-retry-total"])
            told.count("rolled", metrics["segment-roll-total"])


# -- readers ---------------------------------------------------------------------------------------------------------


class Tour:
    """A consumer, and its passes through some partitions."""

    def __init__(self, address: str, told: Told, **configs: object) -> None:
        self._told = told
        self._consumer = Consumer(bootstrap_servers=address, auto_offset_reset="none", **configs)
        self.passes: dict[TopicPartition, Pass] = {}

    def begin(self, places: list[TopicPartition], choose: Callable[[int, int], int] = min) -> None:
        """Read these and no others, each from where `choose(first, end)` says or, if that has just gone, from the first."""
        self._consumer.assign(places)
        self._consumer.seek_to_beginning()
        for place in places:
            first = self._consumer.position(place)
            self._consumer.seek(place, choose(first, self._consumer.highwater(place)))
        self.passes = {place: Pass(self._consumer.position(place)) for place in places}

    def read(self, timeout_ms: int) -> None:
        """Poll once, and go on from the first offset where retention was faster."""
        try:
            for place, records in self._consumer.poll(timeout_ms=timeout_ms).items():
                self.passes[place].take(records)
        except OffsetOutOfRangeError as gone:
            place = TopicPartition(gone.topic, gone.partition)
            self._consumer.seek_to_beginning(place)
            self.passes[place].skip_to(self._consumer.position(place))
        self._told.count("healed", self._consumer.metrics()["consumer-metrics"]["claims-healed-total"])

    def read_to_end(self) -> None:
        """Read all that there is now."""
        ends = self._consumer.end_offsets(self.passes)
        deadline = time.monotonic() + DEADLINE_S
        while behind := [place for place, end in ends.items() if self._consumer.position(place) < end]:
            assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: reading {behind} up to {ends}"
            self.read(50)

    def close(self) -> None:
        self._consumer.close()


def wander(scene: Scene, name: str, rng: random.Random) -> None:
    """Read some partitions from somewhere for a while, then others; holds up the producers of queues."""
    arm(rng, ("journal.abort.before", 3), ("journal.abort.after", 3), ("readers.move_seq.before", 20), (None, 300))
    tour = Tour(
        scene.address, Told(scene.told / name), spin_us=rng.choice((0, 20)), max_poll_records=rng.choice((1, 10, 500))
    )
    while not scene.is_over():
        tour.begin(rng.sample(scene.places, rng.randint(1, len(scene.places))), rng.choice((min, max, rng.randint)))
        for _ in range(rng.randint(1, 200)):
            if scene.is_over():
                break
            tour.read(5)
    tour.close()


class Witness:
    """Reads everything, never dies, though it may be stopped, and tells what it read when the storm is over."""

    def __init__(self, scene: Scene, name: str) -> None:
        self._scene = scene
        self._tour = Tour(scene.address, Told(scene.told / name))
        self._tour.begin(scene.places)

    def watch(self) -> None:
        """Read until the storm is over."""
        while not self._scene.is_over():
            self._tour.read(20)

    def finish(self) -> dict[TopicPartition, Pass]:
        """Read what is left, when all others are gone."""
        self._tour.read_to_end()
        return self._tour.passes

    def read_again(self) -> dict[TopicPartition, Pass]:
        """Read once more all that is still there."""
        self._tour.begin(self._scene.places)
        self._tour.read_to_end()
        return self._tour.passes

    def __enter__(self) -> Witness:
        return self

    def __exit__(self, *_: object) -> None:
        self._tour.close()


# -- the inspector ---------------------------------------------------------------------------------------------------


def inspect(scene: Scene, name: str, rng: random.Random) -> None:
    """Look for broken invariants, and remove what deaths left, while all the others are at it."""
    arm(rng, (None, 40))
    broker = open_broker(scene.address.removeprefix("shm://"))
    topics = Topics(broker)
    while not scene.is_over(0.02):
        for place in scene.places:
            with topics.opened(topics.find(place.topic)) as partitions:
                assert (wrong := partitions[place.partition].verify()) is None, f"{place}: {wrong}"
        report = collect(broker)
        assert report.problems == []
    broker.close()
