"""A seeded storm: producers and readers that are killed, stopped and replaced while others go on.

Owns: the processes, what they did and told, and when one of them is hit.
Must never: judge what was read; the test does.
Sits: over `crew` and `ledger` of the crash tests.

Producers append to a file of their own, a line for each acknowledged send, so that what they told outlives them. About half
of them carry a fault point, so that they surely die in the middle of an append; the rest are hit whenever it happens.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from crew import DEADLINE_S, Watcher, leave, wait_for
from ledger import Ledger, make_value, read_value

from shmq import Consumer, Producer, TopicPartition, _native

IN_AN_APPEND = ("journal.claim.after", "journal.commit.before")
PRODUCERS, READERS = 4, 2
SIZES, SMALL_SIZES = (1, 10, 100, 1000, 9000), (1, 10, 100, 1000)
MOST_UNACKNOWLEDGED = 20
UNBOUNDED = "delete"
LONGEST_LIFE_S, LONGEST_STOP_S = 0.4, 0.08


class Child:
    """A forked process of the storm; `again` starts another one in its place."""

    def __init__(self, body: Callable[[], None], again: Callable[[], None]) -> None:
        self.again = again
        self.pid = os.fork()
        if self.pid == 0:
            leave(body)
        self.is_gone = False

    def signal(self, number: int) -> None:
        if not self.has_ended():
            os.kill(self.pid, number)

    def has_ended(self) -> bool:
        if not self.is_gone and os.waitpid(self.pid, os.WNOHANG)[0]:
            self.is_gone = True
        return self.is_gone

    def end(self) -> None:
        """Kill it if it is still there, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.signal(signal.SIGCONT)
        wait_for(self.has_ended, f"process {self.pid} to die")


class Storm:
    """All processes over some partitions, `places`; `told` is a directory for what producers tell."""

    def __init__(self, address: str, places: list[TopicPartition], told: Path, seed: int) -> None:
        self.address, self.places, self.told = address, places, told
        self.random = random.Random(seed)
        self.hits: Counter[str] = Counter()
        self.ledgers = {place: Ledger() for place in places}
        self._names = 0
        self._children: list[Child] = []
        self._due: list[tuple[float, Child, str]] = []

    @contextlib.contextmanager
    def blowing(self) -> Iterator[Consumer]:
        """Everybody at work; the consumer that is given reads all partitions and is never hit."""
        consumer = Consumer(bootstrap_servers=self.address, auto_offset_reset="earliest", spin_us=0)
        try:
            consumer.assign(self.places)
            for _ in range(PRODUCERS):
                self._start_producer()
            for _ in range(READERS):
                self._start_reader()
            yield consumer
        finally:
            self.calm()
            consumer.close()

    def step(self, consumer: Consumer) -> None:
        """Read a while, then hit whoever is due, and replace the dead."""
        self.read(consumer)
        now = time.monotonic()
        for each in [each for each in self._due if each[0] <= now]:
            self._due.remove(each)
            self._hit(each[1], each[2])
        for child in [child for child in self._children if child.has_ended()]:
            self._children.remove(child)
            self._due = [each for each in self._due if each[1] is not child]
            child.again()

    def calm(self) -> None:
        """Kill everybody; what they left unfinished stays."""
        for child in self._children:
            child.end()
        self._children.clear()

    def read(self, consumer: Consumer, timeout_ms: int = 10) -> int:
        """Enter what one poll gives into the ledgers; how many records it was."""
        count = 0
        for place, records in consumer.poll(timeout_ms=timeout_ms).items():
            self.ledgers[place].add(read_value(record.offset, record.value) for record in records)
            count += len(records)
        return count

    def acknowledged(self) -> None:
        """Enter into the ledgers what the producers told, once they are gone."""
        for path in self.told.iterdir():
            for line in path.read_text().split("\n")[:-1]:  # the last one may be torn by a death
                topic, partition, count = line.split()
                sent = self.ledgers[TopicPartition(topic, int(partition))].acknowledged
                sent[path.name] = sent.get(path.name, 0) + int(count)

    # -- hits ---------------------------------------------------------------------------------------------------------

    def _hit(self, child: Child, how: str) -> None:
        self.hits[how] += 1
        if how == "stop":
            child.signal(signal.SIGSTOP)
            self._due.append((time.monotonic() + self.random.uniform(0, LONGEST_STOP_S), child, "go on"))
        elif how == "go on":
            child.signal(signal.SIGCONT)
            self._plan(child)
        else:
            child.signal(signal.SIGKILL)

    def _plan(self, child: Child) -> None:
        how = self.random.choice(("stop", "kill"))
        self._due.append((time.monotonic() + self.random.uniform(0, LONGEST_LIFE_S), child, how))

    # -- the processes ------------------------------------------------------------------------------------------------

    def _start_producer(self) -> None:
        self._names += 1
        name, seed = f"p{self._names}", self.random.random()
        child = Child(lambda: self._produce(name, random.Random(seed)), self._start_producer)
        self._children.append(child)
        self._plan(child)

    def _start_reader(self) -> None:
        child = Child(self._read_for_ever, self._start_reader)
        self._children.append(child)
        self._plan(child)

    def _produce(self, name: str, rng: random.Random) -> None:
        """Send for ever, one by one, as batches or lingering; each producer keeps to one way and one partition."""
        place = rng.choice(self.places)
        lingers = rng.random() < 0.2
        batch = MOST_UNACKNOWLEDGED if lingers else rng.choice((1, MOST_UNACKNOWLEDGED))
        sizes = SIZES if batch == 1 else SMALL_SIZES
        if rng.random() < 0.6:
            _native.fault_arm(rng.choice(IN_AN_APPEND), rng.randint(1, 30), signal.SIGKILL)
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 2)  # where the fault point says that it was reached
        with (
            open(self.told / name, "a", buffering=1) as told,
            Producer(bootstrap_servers=self.address, linger_ms=1 if lingers else 0) as producer,
        ):
            index = 0
            while os.getppid() != 1:
                values = [make_value(name, index + each, rng.choice(sizes)) for each in range(batch)]
                if lingers or batch == 1:
                    sent = [producer.send(place.topic, value, partition=place.partition) for value in values]
                    for future in sent:
                        future.get(timeout=DEADLINE_S)
                else:
                    producer.send_many(place.topic, values, partition=place.partition)
                index += batch
                told.write(f"{place.topic} {place.partition} {batch}\n")
                if place.topic == UNBOUNDED:
                    select.select(
                        [], [], [], 0.001
                    )  # nothing holds it back there, and the reader must not be passed by

    def _read_for_ever(self) -> None:
        """Read everything from the beginning; holds up the producers of queues, and heals what the dead left."""
        with Watcher(self.address, auto_offset_reset="latest") as watcher:
            watcher.follow(self.places)
            while os.getppid() != 1:
                watcher.take(20)


def drain(storm: Storm, consumer: Consumer) -> None:
    """Read on until the end of every partition."""
    deadline = time.monotonic() + DEADLINE_S
    ends = consumer.end_offsets(storm.places)
    while any(consumer.position(place) < end for place, end in ends.items()):
        assert time.monotonic() < deadline, f"{ends} not reached: {[consumer.position(each) for each in storm.places]}"
        storm.read(consumer, 50)
        select.select([], [], [], 0)
