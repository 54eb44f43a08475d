"""The targets, and whether the measured figures meet them: each as a ratio or a figure of one run."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from bench.results import Results, Row

OURS = "shmq-memory"  # the row that the targets are about; the disk topic is reported beside it
OWN = ("shmq-memory", "shmq-disk", "semaphore")  # not competitors


@dataclass(frozen=True)
class Target:
    """One target. `measured` None: not measured in this run."""

    what: str
    wanted: float
    at_least: bool  # else: at most
    unit: str
    measured: float | None
    against: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    def sentence(self) -> str:
        """Say what is wanted, what was measured, and how far apart they are."""
        bound = f"{self.what}: {'at least' if self.at_least else 'at most'} {self.wanted:g}{self.unit}"
        if self.measured is None:
            return f"{bound} - not measured{self.against}"
        found = f"{bound}, measured {self.measured:.3g}{self.unit}{self.against}"
        if self.met:
            return f"{found} - met"
        if self.measured > 2 * self.wanted:
            return f"{found} - missed: {self.measured / self.wanted:,.3g} times the target"
        return f"{found} - missed by {100 * abs(1 - self.measured / self.wanted):.0f} % of the target"


def judge(results: Results) -> list[Target]:
    """Return every target with what this run measured."""
    return [
        *judge_throughput(results),
        *judge_arrays(results),
        *judge_bulk(results),
        *judge_latency(results),
        *judge_rolls(results),
        *(judge_healing(results, mode) for mode in ("polling", "asleep")),
        *judge_scaling(results),
        *judge_seek(results),
        *judge_queues(results),
        *judge_executors(results),
    ]


def judge_throughput(results: Results) -> list[Target]:
    """Small records against the fastest peer, large ones against iceoryx2."""
    small = [
        against_best(results, "throughput", f"{size} B", OURS, 3, f"{size} B one by one") for size in (8, 100, 1024)
    ]
    large = [
        against(results, "throughput", f"{size} B", OURS, "iceoryx2", 2, f"{size} B one by one, copied in and out")
        for size in (65536, 1 << 20)
    ]
    return small + large


def judge_arrays(results: Results) -> list[Target]:
    """In place against one region and iceoryx2; `send_array` against the copy it makes."""
    targets = []
    for size in ("64 KiB", "1 MiB"):
        case = f"in place {size}"
        for rival, wanted in (("one region", 0.9), ("iceoryx2-in-place", 1.0)):
            targets.append(against(results, "arrays", case, "shmq-in-place", rival, wanted, f"{case}"))
    case = "sent (1000, 256) float32"
    return [*targets, against(results, "arrays", case, "shmq send_array", "memcpy, ring", 0.9, "send_array, 1 MB")]


def judge_bulk(results: Results) -> list[Target]:
    """`send_many` at its best against the queue's best bulk form, and against our own one by one."""
    best = {
        peer: best_of(row for row in results.suite("bulk") if row.peer == peer)
        for peer in ("shmq-many", "mp-queue-lists")
    }
    ours, theirs = best["shmq-many"], best["mp-queue-lists"]
    alone = results.row("bulk", "one by one", OURS)
    return [
        make_ratio("send_many, 100 B, against multiprocessing.Queue's best bulk form", 10, ours, theirs),
        make_ratio("send_many, 100 B, against our own one by one", 2, ours, alone),
    ]


def judge_latency(results: Results) -> list[Target]:
    """Polling against the best peer, asleep against a bare semaphore."""
    return [
        against_best(results, "pingpong", "polling p50", OURS, 0.25, "ping-pong polling, p50", False),
        against_best(results, "pingpong", "polling p99.9", OURS, 1.0, "ping-pong polling, p99.9", False),
        against(results, "pingpong", "asleep p50", OURS, "semaphore", 1.3, "ping-pong asleep, p50", False),
    ]


def judge_rolls(results: Results) -> list[Target]:
    """With rolls against without; the sends that roll have no bound, and stand beside it."""
    with_rolls, without = (results.row("rolls", "delivered p99.9", name) for name in ("a roll every 10 ms", "no rolls"))
    target = make_ratio("open loop, p99.9 delivered, a roll every 10 ms", 2, with_rolls, without, False)
    rolling = results.median("rolls", "rolling p99", "a roll every 10 ms")
    if rolling is None:
        return [target]
    return [
        Target(target.what, 2, False, " x", target.measured, f"{target.against}; sends that roll, p99 {rolling:.3g} us")
    ]


def judge_healing(results: Results, mode: str) -> Target:
    """The whole time from the fatal send to the next record delivered."""
    measured, after = (results.median("healing", f"{mode} {case}", OURS) for case in ("p99", "p99 after waitpid"))
    against = "" if after is None else f" from the fatal send ({after:.3g} ms from the death observed)"
    return Target(f"healing after SIGKILL, reader {mode}, p99", 10, False, " ms", measured, against)


def judge_scaling(results: Results) -> list[Target]:
    """Two producers against one; a record's cost with many partitions, and with much retained, against the least."""
    two, one = (results.row("scaling", f"producers {count}", OURS) for count in (2, 1))
    targets = [make_ratio("2 producers on one partition", 0.9, two, one)]
    for suite, most, least in (("partitions", "1000", "1"), ("seek", "100 GB", "1 MB")):
        what = "partitions" if suite == "partitions" else "retained"
        for operation in ("send", "poll"):
            large, small = (results.row(suite, f"{operation} {size}", OURS) for size in (most, least))
            targets.append(
                make_ratio(f"cost of a {operation}, {most} {what} against {least}", 1.2, large, small, False)
            )
    return targets


def judge_seek(results: Results) -> list[Target]:
    """Seeks against a bare C call."""
    bare = results.row("seek", "bare call", "bare C call")
    sizes = ("1 MB", "100 GB")
    return [
        make_ratio(f"{what}, {size} retained", 20, results.row("seek", f"{operation} {size}", OURS), bare, False)
        for operation, what in (("offset", "seek"), ("time", "offsets_for_times"))
        for size in sizes
    ]


def judge_queues(results: Results) -> list[Target]:
    """Every case against multiprocessing's queue and faster-fifo; an item's way back."""
    targets = []
    for case in dict.fromkeys(row.case for row in results.suite("queues") if not row.case.startswith("redelivery")):
        for rival, wanted in (("multiprocessing.Queue", 10 if "array" in case else 5), ("faster-fifo", 1)):
            targets.append(against(results, "queues", case, "shmq.Queue", rival, wanted, f"queue, {case}"))
    measured = results.median("queues", "redelivery p99", "shmq.Queue")
    return [*targets, Target("a dead worker's item is back, p99", 20, False, " ms", measured)]


def judge_executors(results: Results) -> list[Target]:
    """Empty tasks and large arguments against the standard pool."""
    wanted = {"submitted at once": 3, "map": 3, "10 MB arguments": 5}
    pools = ("shmq.Executor", "ProcessPoolExecutor")
    return [against(results, "executors", case, *pools, times, f"executor, {case}") for case, times in wanted.items()]


def against(
    results: Results, suite: str, case: str, ours: str, theirs: str, wanted: float, what: str, at_least: bool = True
) -> Target:
    """Return our figure as a multiple of one rival's."""
    mine, other = (results.row(suite, case, name) for name in (ours, theirs))
    return make_ratio(f"{what}, against {theirs}", wanted, mine, other, at_least)


def against_best(
    results: Results, suite: str, case: str, ours: str, wanted: float, what: str, at_least: bool = True
) -> Target:
    """Return our figure as a multiple of the best of all peers'."""
    rivals = (row for row in results.suite(suite) if row.case == case and row.peer not in OWN)
    return make_ratio(
        f"{what}, against the best peer", wanted, results.row(suite, case, ours), best_of(rivals), at_least
    )


def best_of(rows: Iterable[Row]) -> Row | None:
    """Return the row with the best median, None if there is none."""
    measured = [row for row in rows if row.median is not None]
    return max(measured, key=lambda row: (row.median or 0) * (1 if row.higher_is_better else -1), default=None)


def make_ratio(what: str, wanted: float, ours: Row | None, theirs: Row | None, at_least: bool = True) -> Target:
    """Return the median of the rounds' ratios, which for rates is to be at least, for costs at most so large."""
    if theirs is None or theirs.median is None:
        return Target(what, wanted, at_least, " x", None)
    rate = f"{theirs.median:,.0f}" if theirs.median >= 1000 else f"{theirs.median:.3g}"
    text = f" ({theirs.peer}, {theirs.case}: {rate} {theirs.unit})"
    if ours is None or ours.median is None:
        return Target(what, wanted, at_least, " x", None, text)
    if len(ours.values) == len(theirs.values):
        measured = statistics.median(one / other for one, other in zip(ours.values, theirs.values, strict=True))
    else:
        measured = ours.median / theirs.median
    return Target(what, wanted, at_least, " x", measured, text)
