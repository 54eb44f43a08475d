"""Queues side by side: shmq.Queue, multiprocessing's, a manager's, faster-fifo; how soon a dead worker's item is back.

Owns: the turns, and what is counted as an item.
Must never: compare what was not measured in turns in one run, or count an item that was not checked.
Sits: beside the other suites; its peers carry objects where those of `throughput` carry bytes.
"""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection, wait
from typing import Any

from bench.children import CONTEXT, Child, Children
from bench.plan import Outcome, Plan, Step, make_curve, percentile
from bench.roles.queues import ARRAY, ARRAYS, GO, QUEUES, SMALL, Kind, check, consume, make_shmq, open_queue
from bench.roles.queues import produce as put_items
from bench.roles.queues import survive as get_again
from bench.scratch import Scratch

SHAPES = ((1, 1), (1, 4), (4, 1), (4, 4))  # producers, consumers
START_TIMEOUT_S, RUN_TIMEOUT_S = 60.0, 120.0
ASLEEP_S = 0.003  # until a worker that has asked for an item is taken to be asleep
OURS = "shmq.Queue"
LONGEST_S = 1.0
PERCENTILES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


# ---- Throughput ----


def run(name: str, kind: Kind, producers: int, consumers: int, seconds: float) -> float:
    """One turn of one queue: items per second, from the first put to the last get.

    Raises:
        ChildError: a process failed or hung. ValueError: an item was lost, doubled or damaged.
    """
    with open_queue(name, kind) as items, Children() as children:
        takers = [children.start(f"consumer {n}", consume, items, kind.name) for n in range(consumers)]
        putters = [children.start(f"producer {n}", put_items, items, kind.name, seconds) for n in range(producers)]
        for child in (*takers, *putters):
            children.expect(child, START_TIMEOUT_S)
        tell(putters)
        sent = [children.expect(child, RUN_TIMEOUT_S) for child in putters]
        for _ in takers:
            items.put(None)
        got = [children.expect(child, RUN_TIMEOUT_S) for child in takers]
        tell((*takers, *putters))
    check_all(kind, [count for count, _ in sent], sum(count for count, *_ in got), sum(total for _, total, _ in got))
    began, ended = min(began for _, began in sent), max(ended for *_, ended in got)
    return float(sum(count for count, _ in sent) / (ended - began))


def tell(children: Any) -> None:
    """Say to each that it may go on."""
    for child in children:
        child.tell(GO)


def check_all(kind: Kind, counts: list[int], count: int, total: int) -> None:
    """Was each item got once?"""
    wanted = sum(
        sum(number % ARRAYS for number in range(each)) if kind is ARRAY else each * (each - 1) // 2 for each in counts
    )
    check(count == sum(counts) and total == wanted, f"{count} items of sum {total}; put were {sum(counts)}, {wanted}")


# ---- Redelivery ----


def redeliver(kills: int) -> list[float]:
    """From each kill of a worker that has an item to its coming to another that waits, in milliseconds."""
    items = make_shmq(redeliver=True)
    delays = []
    try:
        with Children() as children:
            survivor = children.start("survivor", get_again, items)
            children.expect(survivor, START_TIMEOUT_S)
            for number in range(kills):
                delays.append(kill_one(items, number, children, survivor))
            survivor.tell("end")
    finally:
        items.close()
    return delays


def kill_one(items: Any, number: int, children: Children, survivor: Child) -> float:
    """Give one worker an item, and kill it while another sleeps in `get`."""
    heard, told = CONTEXT.Pipe(duplex=False)
    items.put(number)
    victim = fork_victim(items, told)
    told.close()
    try:
        check(heard.poll(START_TIMEOUT_S) and heard.recv() == number, f"the worker has no item {number}")
        survivor.tell(GO)
        children.expect(survivor, START_TIMEOUT_S)
        wait([heard], ASLEEP_S)
    finally:
        began_ns = time.perf_counter_ns()
        os.kill(victim, signal.SIGKILL)
    item, came_ns, deliveries = children.expect(survivor, START_TIMEOUT_S)
    os.waitpid(victim, 0)
    heard.close()
    check((item, deliveries) == (number, 2), f"item {item} came, its delivery {deliveries}; killed over {number}")
    return float(came_ns - began_ns) / 1e6


def fork_victim(items: Any, told: Connection) -> int:
    """A worker that takes one item, says so, and waits."""
    pid = os.fork()
    if pid == 0:
        told.send(items.get())
        signal.pause()
        os._exit(0)
    return pid


# ---- Steps ----


def measure(name: str, kind: Kind, shape: tuple[int, int], seconds: float) -> Outcome:
    """Return the rate of one turn of one queue."""
    return Outcome([run(name, kind, *shape, seconds)])


def measure_redelivery(kills: int) -> Outcome:
    """Return the percentiles in milliseconds, and the distribution."""
    delays_ms = sorted(redeliver(kills))
    values = [percentile(delays_ms, share) for share in PERCENTILES.values()]
    return Outcome(values, {"kills": float(kills)}, {"redelivery": make_curve(delays_ms)})


def steps(plan: Plan, _scratch: Scratch) -> Iterator[Step]:
    """Every queue, turn by turn, for each kind of item and each number of producers and consumers; then the kills."""
    seconds = plan.shorter(LONGEST_S).seconds
    small = [(kind, shape) for kind in SMALL for shape in SHAPES]
    for kind, shape in plan.either([*small, (ARRAY, SHAPES[0])], [(SMALL[1], SHAPES[0]), (ARRAY, SHAPES[0])]):
        for _ in range(plan.fewer_rounds):
            for name in (name for name in QUEUES if plan.wants(name)):
                case = (f"{kind.name} {shape[0]}:{shape[1]}",)
                yield Step("queues", name, case, "items/s", True, partial(measure, name, kind, shape, seconds))
    if plan.wants(OURS):
        cases = tuple(f"redelivery {name}" for name in PERCENTILES)
        yield Step("queues", OURS, cases, "ms", False, partial(measure_redelivery, plan.kills))
