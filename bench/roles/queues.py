"""What the processes of `bench.queues` do, and the queues that they do it with.

Owns: making each queue, the items and how they are checked, the loops that are timed.
Must never: treat one queue otherwise than the others: one item a call, the same items, the same checks.
Sits: under `bench.queues`; runs in children that `bench.children` starts.
"""

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from bench.children import CONTEXT

Item = Any
GO = "go"
ITEMS_A_LOOK = 32  # puts between two looks at the clock
ARRAYS = 4  # different ones that are sent in turn; none is changed while it may still be on its way
ARRAY_WORDS = 131072  # 1 MiB of float64
PAGE_WORDS = 512


@dataclass(frozen=True)
class Kind:
    """What is sent."""

    name: str
    make: Callable[[int], Item]
    number: Callable[[Item], int]  # of an item that came; raises if it is damaged
    length: int  # most items in the queue
    ring_bytes: int  # for queues that are bounded in bytes


@contextlib.contextmanager
def open_queue(name: str, kind: Kind) -> Iterator[Any]:
    """Make one of QUEUES; ImportError or AttributeError if it is not there."""
    if name == "multiprocessing.Queue":
        made = CONTEXT.Queue(kind.length)
        try:
            yield made
        finally:
            made.close()
            made.cancel_join_thread()
    elif name == "Manager().Queue":
        with CONTEXT.Manager() as manager:
            yield manager.Queue(kind.length)
    elif name == "faster-fifo":
        import faster_fifo

        yield faster_fifo.Queue(kind.ring_bytes)
    else:
        made = make_shmq(maxsize=kind.length)
        try:
            yield made
        finally:
            made.close()


QUEUES = ("multiprocessing.Queue", "faster-fifo", "Manager().Queue", "shmq.Queue")


def make_shmq(**options: Any) -> Any:
    """Make a shmq.Queue."""
    import shmq

    return shmq.Queue(**options)


def check(right: bool, wrong: str) -> None:
    """Raise ValueError unless it is right."""
    if not right:
        raise ValueError(wrong)


# ---- Items ----


def make_tuple(number: int) -> Item:
    """A small record."""
    return (number, "sensor-7", 21.5)


def make_dict(number: int) -> Item:
    """The same, by name."""
    return {"id": number, "name": "sensor-7", "value": 21.5}


class Arrays:
    """1 MiB of float64, each page stamped with the item's number modulo ARRAYS. Made where they are first sent."""

    def __init__(self) -> None:
        self._made: list[Any] = []

    def make(self, number: int) -> Item:
        """One of the arrays that are sent in turn."""
        import numpy as np

        if not self._made:
            self._made = [np.full(ARRAY_WORDS, float(stamp)) for stamp in range(ARRAYS)]
        return self._made[number % ARRAYS]

    def number(self, item: Item) -> int:
        """Look at every page."""
        stamps = item[::PAGE_WORDS]
        check(item.shape == (ARRAY_WORDS,) and item.flags.writeable and bool((stamps == stamps[0]).all()), "damaged")
        return int(stamps[0])


def first_of(item: Item) -> int:
    """The number of a tuple."""
    number: int = item[0]
    return number


def id_of(item: Item) -> int:
    """The number of a dict."""
    number: int = item["id"]
    return number


_arrays = Arrays()
SMALL = (
    Kind("int", int, int, 10_000, 1_000_000),  # faster-fifo: the ring of its own README
    Kind("tuple", make_tuple, first_of, 10_000, 1_000_000),
    Kind("dict", make_dict, id_of, 10_000, 1_000_000),
)
ARRAY = Kind("1 MB array", _arrays.make, _arrays.number, 16, 16 << 20)
KINDS = {kind.name: kind for kind in (*SMALL, ARRAY)}


# ---- Roles ----


def produce(pipe: Connection, items: Any, kind_name: str, seconds: float) -> None:
    """Put for so long, one item a call; tell how many, and when the first was put."""
    kind = KINDS[kind_name]
    put, make = items.put, kind.make
    make(0)
    pipe.send("ready")
    pipe.recv()
    number, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for number in range(number, number + ITEMS_A_LOOK):  # noqa: B020  # goes on where it was
            put(make(number))
        number += 1
    if hasattr(items, "join_thread"):  # what a feeder thread has not sent yet
        items.close()
        items.join_thread()
    pipe.send((number, began))
    pipe.recv()


def consume(pipe: Connection, items: Any, kind_name: str) -> None:
    """Get, one item a call, until None comes; tell how many, the sum of their numbers, and when the last came."""
    number_of = KINDS[kind_name].number
    get = items.get
    pipe.send("ready")
    count = total = 0
    ended = 0.0
    while True:
        try:
            item = get()
        except queue.Empty:  # faster-fifo waits 10 seconds
            continue
        if item is None:
            break
        total += number_of(item)
        count += 1
        ended = time.perf_counter()
    pipe.send((count, total, ended))
    pipe.recv()


def survive(pipe: Connection, items: Any) -> None:
    """Get one item each time that the parent says so; tell which, when, and how often it was delivered."""
    pipe.send("ready")
    while pipe.recv() == GO:
        pipe.send("asking")
        item = items.get(timeout=20)
        came_ns = time.perf_counter_ns()
        items.task_done()
        pipe.send((item, came_ns, items.delivery_count))
