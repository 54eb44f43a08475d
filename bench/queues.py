"""Queues side by side: shmq.Queue, multiprocessing's, a manager's, faster-fifo; how soon a dead worker's item is back.

    python -m bench.queues [--quick]

Owns: the turns, the tables, the targets.
Must never: compare what was not measured in turns in one run, or count an item that was not checked.
Sits: beside the suites; a command of its own, since its peers carry objects where those carry bytes.
"""

import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench.children import CONTEXT, Child, Children
from bench.pingpong import percentile
from bench.queue_roles import ARRAY, ARRAYS, GO, KINDS, QUEUES, SMALL, Kind, check, consume, make_shmq, open_queue
from bench.queue_roles import produce as put_items
from bench.queue_roles import survive as get_again
from bench.report import make_console

SHAPES = ((1, 1), (1, 4), (4, 1), (4, 4))  # producers, consumers
START_TIMEOUT_S, RUN_TIMEOUT_S = 60.0, 120.0
ASLEEP_S = 0.003  # until a worker that has asked for an item is taken to be asleep
OURS, THEIRS, RIVAL = "shmq.Queue", "multiprocessing.Queue", "faster-fifo"
TIMES_SMALL, TIMES_RIVAL, TIMES_ARRAY, REDELIVERY_MS = 5.0, 1.0, 10.0, 20.0

Case = tuple[str, str]  # kind, shape
Rates = dict[tuple[str, Case], list[float]]  # items per second, one of each round


@click.command()
@click.option("--quick", is_flag=True, help="About two minutes: fewer rounds, shorter ones, fewer kills.")
@click.option("--rounds", type=click.IntRange(1), help="Turns of every queue [5, quick: 2].")
@click.option("--seconds", type=click.FloatRange(0.05), help="How long producers put in a turn [1, quick: 0.3].")
@click.option("--kills", type=click.IntRange(0), help="Workers killed [300, quick: 30].")
@click.option("--only", metavar="TEXT", default="", help="Only cases whose name, 'int 1:1', has this in it.")
def main(quick: bool, rounds: int | None, seconds: float | None, kills: int | None, only: str) -> None:
    """Print what was measured; status 1 if a target was missed."""
    console = make_console()
    queues = find_queues(console)
    rates = measure(queues, rounds or (2 if quick else 5), seconds or (0.3 if quick else 1.0), only)
    kills = (30 if quick else 300) if kills is None else kills
    delays = sorted(redeliver(kills)) if kills and OURS in queues else []
    print_rates(console, rates)
    met = print_targets(console, rates)
    if delays:
        p50, p99 = percentile(delays, 0.5), percentile(delays, 0.99)
        met &= p99 < REDELIVERY_MS
        console.print(
            f"{verdict(p99 < REDELIVERY_MS)} a worker killed, {kills} times: another gets its item after {p50:.1f} ms, "
            f"p99 {p99:.1f} ms, longest {delays[-1]:.1f} ms (target: p99 below {REDELIVERY_MS:.0f} ms)"
        )
    sys.exit(0 if met else 1)


def find_queues(console: Console) -> list[str]:
    """Return the queues that can be made; say why the others cannot."""
    found = []
    for name in QUEUES:
        try:
            with open_queue(name, SMALL[0]):
                found.append(name)
        except (ImportError, AttributeError) as error:
            console.print(f"{name} is left out: {error}")
    return found


# ---- Throughput ----


def measure(queues: list[str], rounds: int, seconds: float, only: str) -> Rates:
    """Every case, round by round, in each round every queue."""
    rates: Rates = {}
    for kind, (producers, consumers) in cases():
        case = (kind.name, f"{producers}:{consumers}")
        if only not in " ".join(case):
            continue
        for _ in range(rounds):
            for name in queues:
                rates.setdefault((name, case), []).append(run(name, kind, producers, consumers, seconds))
    return rates


def cases() -> Iterator[tuple[Kind, tuple[int, int]]]:
    """What is measured."""
    for kind in SMALL:
        for shape in SHAPES:
            yield kind, shape
    yield ARRAY, (1, 1)


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


# ---- The report ----


def print_rates(console: Console, rates: Rates) -> None:
    """One table for each kind: queues by shapes."""
    for kind in KINDS:
        shapes = list(dict.fromkeys(case[1] for _, case in rates if case[0] == kind))
        if not shapes:
            continue
        table = Table(title=f"{kind}: 1,000 items/s, one item a call, median (lowest..highest)", title_justify="left")
        for heading in ("producers : consumers", *shapes):
            table.add_column(heading, justify="right")
        for name in QUEUES:
            cells = [spread(rates[name, (kind, shape)]) for shape in shapes if (name, (kind, shape)) in rates]
            if cells:
                table.add_row(name, *cells)
        console.print(table)


def spread(values: list[float]) -> str:
    """Median and range, in thousands."""
    low, middle, high = (value / 1000 for value in (min(values), statistics.median(values), max(values)))
    digits = 0 if middle >= 100 else 1
    return f"{middle:,.{digits}f} ({low:,.{digits}f}..{high:,.{digits}f})"


def print_targets(console: Console, rates: Rates) -> bool:
    """How many times as fast ours is, for each case; were all targets met?"""
    all_met = True
    for case in dict.fromkeys(case for _, case in rates):
        for peer in (THEIRS, RIVAL):
            if (OURS, case) not in rates or (peer, case) not in rates:
                continue
            target = (TIMES_ARRAY if case[0] == ARRAY.name else TIMES_SMALL) if peer == THEIRS else TIMES_RIVAL
            ratio = statistics.median(rates[OURS, case]) / statistics.median(rates[peer, case])
            all_met &= ratio >= target
            name = f"{case[0]} {case[1]}: {ratio:.1f} times {peer} (target: {target:g})"
            console.print(f"{verdict(ratio >= target)} {name}", highlight=False)
    return all_met


def verdict(met: bool) -> str:
    """The first word of a target's line."""
    return "met   " if met else "MISSED"


if __name__ == "__main__":
    main(prog_name="python -m bench.queues")
