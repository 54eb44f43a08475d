"""The targets of issue 2, and whether the measured figures meet them."""

import statistics
from dataclasses import dataclass

from bench.results import Results

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
        gap_percent = 100 * abs(1 - self.measured / self.wanted)
        return f"{found} - missed by {gap_percent:.0f} % of the target"


def judge(results: Results) -> list[Target]:
    """Return every target with what this run measured."""
    return [
        judge_throughput(results, 8),
        judge_throughput(results, 100),
        judge_ratio(results, "ping-pong polling, p50 against iceoryx2", "polling p50", "iceoryx2", 0.25),
        judge_ratio(results, "ping-pong asleep, p50 against a bare semaphore", "asleep p50", "semaphore", 1.5),
        *(judge_healing(results, mode) for mode in ("polling", "asleep")),
        judge_scaling(results),
    ]


def judge_throughput(results: Results, size_bytes: int) -> Target:
    """Ours against the fastest of all peers."""
    case = f"{size_bytes} B"
    rivals = [row for row in results.rows if row.suite == "throughput" and row.case == case and row.peer not in OWN]
    rates = {row.peer: row.median for row in rivals if row.median is not None}
    ours = results.median("throughput", case, OURS)
    fastest = max(rates, key=lambda name: rates[name], default=None)
    what = f"throughput at {case}, against the fastest peer"
    if fastest is None:
        return Target(what, 1.5, True, " x", None)
    against = f" ({fastest}, {rates[fastest] / 1000:,.0f} k/s)"
    return Target(what, 1.5, True, " x", None if ours is None else ours / rates[fastest], against)


def judge_ratio(results: Results, what: str, case: str, rival: str, wanted: float) -> Target:
    """Our latency as a share of a rival's."""
    ours, theirs = results.median("pingpong", case, OURS), results.median("pingpong", case, rival)
    if theirs is None:
        return Target(what, wanted, False, " x", None)
    against = f" ({rival}, {theirs:.3g} us)"
    return Target(what, wanted, False, " x", None if ours is None else ours / theirs, against)


def judge_healing(results: Results, mode: str) -> Target:
    """The whole time from the fatal send to the next record delivered."""
    measured, after = (results.median("healing", f"{mode} {case}", OURS) for case in ("p99", "p99 after waitpid"))
    against = "" if after is None else f" from the fatal send ({after:.3g} ms from the death observed)"
    return Target(f"healing after SIGKILL, reader {mode}, p99", 10, False, " ms", measured, against)


def judge_scaling(results: Results) -> Target:
    """Two producers against one, round by round."""
    one, two = (results.row("scaling", case, OURS) for case in ("1 producer", "2 producers"))
    what = "appending only, 2 producers against 1"
    if one is None or two is None or one.errors or two.errors or not one.values:
        return Target(what, 0.9, True, " x", None)
    ratios = [second / first for first, second in zip(one.values, two.values, strict=True)]
    return Target(what, 0.9, True, " x", statistics.median(ratios))
