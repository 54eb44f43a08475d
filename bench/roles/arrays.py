"""One process fills arrays in place and one reduces them; or one sends arrays and copies them, in turns."""

import itertools
import mmap
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from bench.peers.in_place import InPlace
from bench.roles.transfer import MARGIN_S, READY, Pace, drain
from bench.values import WrongValueError

LOOK = 16  # arrays between two looks at the clock
END = 1 << 32  # the number of the last array
SHAPE = (1000, 256)
COPIED_DTYPE: Any = "float32"
TOPIC = "t"


def write_arrays(pipe: Connection, peer: InPlace, pace: Pace) -> None:
    """Write arrays of 1, of 2, of 3 ... until the time is up, then one of END; answer how many there were."""
    write = peer.open_writer()
    pipe.send(READY)
    pipe.recv()
    number = 0
    end_s = time.perf_counter() + pace.warmup_s + pace.seconds + MARGIN_S
    while time.perf_counter() < end_s:
        for number in range(number + 1, number + 1 + LOOK):  # noqa: B020  # goes on where it was
            write(number)
    write(END)
    pipe.send(number)
    pipe.recv()
    peer.close()


def read_arrays(pipe: Connection, peer: InPlace, pace: Pace) -> None:
    """Add up each array, which shows that all its words are the number that comes next; answer Drained."""
    arrays = peer.open_reader()
    pipe.send(READY)
    numbers = itertools.count(1)
    pipe.send(drain(lambda: take_sums(arrays, numbers, peer.words), pace))
    arrays.close()  # type: ignore[attr-defined]
    pipe.recv()
    peer.close()


def take_sums(arrays: Iterator[Any], numbers: Iterator[int], words: int) -> int:
    """Take and check LOOK arrays; return how many, 0 at the end."""
    for number, array in zip(itertools.islice(numbers, LOOK), arrays, strict=False):
        total = int(array.sum())
        if total != number * words:
            if total == END * words and number % LOOK == 1:
                return 0
            raise WrongValueError(f"expected array {number}, whose sum is {number * words}, got one of {total}")
    return LOOK


def copy_and_send(pipe: Connection, broker: str, ring_bytes: int, repeats: int, turns: int) -> None:
    """In turns: copy an array into a ring of plain memory, into one place, and send it to a topic.

    Answer the rates in arrays a second, of each turn, and that what the topic has retained is what was sent.
    """
    import numpy as np

    from shmq import Consumer, Producer, TopicPartition

    source = np.random.default_rng(7).random(SHAPE, COPIED_DTYPE)
    slots = max(1, ring_bytes // source.nbytes)
    memory = mmap.mmap(-1, slots * source.nbytes, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    ring = np.frombuffer(memory, COPIED_DTYPE).reshape(slots, *SHAPE)
    places, sent = itertools.cycle(range(slots)), 0
    rates: dict[str, list[float]] = {"ring": [], "place": [], "send": []}
    with Producer(bootstrap_servers=broker) as producer:
        for turn in range(turns + 1):
            began = [time.perf_counter()]
            for _ in range(repeats):
                np.copyto(ring[next(places)], source)
            began.append(time.perf_counter())
            for _ in range(repeats):
                np.copyto(ring[0], source)
            began.append(time.perf_counter())
            for sent in range(sent + 1, sent + 1 + repeats):  # noqa: B020  # goes on where it was
                source[0, 0] = sent
                producer.send_array(TOPIC, source)
            began.append(time.perf_counter())
            if turn:  # the first one has warmed up
                for name, first, last in zip(rates, began, began[1:], strict=False):
                    rates[name].append(repeats / (last - first))
    with Consumer(bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(TOPIC, 0)])
        check_retained(consumer, source, sent)
    pipe.send(rates)
    pipe.recv()


def check_retained(consumer: Any, source: Any, sent: int) -> None:
    """Raise WrongValueError unless the log ends with the last arrays sent, each whole."""
    last = 0
    while found := consumer.poll_arrays(0, SHAPE[0]):
        for batch in found.values():
            if len(batch.items) != SHAPE[0] or batch.offsets[0] % SHAPE[0]:
                raise WrongValueError(f"{len(batch.items)} items from offset {batch.offsets[0]} on are not one array")
            last = int(batch.offsets[0]) // SHAPE[0] + 1
            if batch.items[0, 0] != last or (batch.items.ravel()[1:] != source.ravel()[1:]).any():
                raise WrongValueError(f"array {last} is not what was sent")
    if last != sent:
        raise WrongValueError(f"{sent} arrays were sent, the log ends with number {last}")
