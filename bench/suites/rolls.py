"""Does the log's housekeeping show? An open loop at half the peak rate, with a roll every 10 ms and without any.

Latency counts from the time at which a record was due, so that a sender that is held up is charged for all that it
should have sent meanwhile. `delivered` is until a consumer's `poll` has returned it, `sent` until `send` has returned;
`rolling` is `sent` of those records alone with which a segment begins. A ring keeps 8 segments, and producers wait for
the consumer.
"""

import itertools
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from bench.children import ChildError, Children
from bench.peers.shmq_topic import ShmqMemory, create_topic
from bench.plan import Outcome, Plan, Step, make_curve, percentile
from bench.roles.rolls import WARM_RECORDS, Taken, send_openly, take_openly
from bench.roles.transfer import CLOSE
from bench.scratch import SHM, Scratch, open_broker

SEGMENTS = 8
PEAK_SEGMENT_BYTES = 1 << 20
PEAK_RECORDS = 400_000
ROLL_EVERY_S = 0.010
MOST_SEGMENT_BYTES, LEAST_SEGMENT_BYTES, STEP_BYTES = 512 << 20, 64 << 10, 4096
SPARE = 1.05  # a segment without rolls has room for so much more than is sent
LONGEST_S = 3.0
START_TIMEOUT_S, RUN_TIMEOUT_S = 60.0, 60.0
PERCENTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
SPANS = ("delivered", "sent", "rolling")
WITH, WITHOUT = "a roll every 10 ms", "no rolls"
HEADER = struct.Struct("<8s40xQ")  # magic, base_offset: see layout.h
MAGIC = b"SHMQSEG1"


@dataclass
class Peak:
    """What the first step of each round finds, and the others go by."""

    rates: list[float] = field(default_factory=list)
    record_bytes: float = 0.0  # that a record takes of a segment, headers and journal included

    @property
    def rate(self) -> float:
        """Half of the median so far; ChildError if there is none."""
        if not self.rates:
            raise ChildError("no peak rate was measured")
        return median(self.rates) / 2


@dataclass(frozen=True)
class Run:
    """One open loop: when the first record was due, when sends returned, what polls took, where segments began."""

    first_ns: int
    interval_ns: float
    returned_ns: Sequence[int]
    taken: Taken
    bases: list[int]


def run(segment_bytes: int, count: int, interval_ns: float) -> Run:
    """Send and take so many records.

    Raises:
        ChildError: a process failed or hung, or records are missing.
    """
    with open_broker() as broker, Children() as children:
        ring = {"segment_bytes": segment_bytes, "retention_bytes": SEGMENTS * segment_bytes, "max_message_bytes": 1000}
        create_topic(broker, "t", {"storage": "memory", "retention": "consumed", **ring})
        taker = children.start("taker", take_openly, broker, "t")
        children.expect(taker, START_TIMEOUT_S)
        sender = children.start("sender", send_openly, broker, "t")
        children.expect(sender, START_TIMEOUT_S)
        sender.tell((count, interval_ns))
        first_ns, returned_ns = children.expect(sender, RUN_TIMEOUT_S)
        taken = children.expect(taker, RUN_TIMEOUT_S)
        bases = find_bases(broker)
        for child in (sender, taker):
            child.tell(CLOSE)
    received = sum(records for _, _, records in taken)
    if received != WARM_RECORDS + count:
        raise ChildError(f"{WARM_RECORDS + count} records sent, {received} received")
    return Run(first_ns, interval_ns, returned_ns, taken, bases)


def find_bases(broker: str) -> list[int]:
    """Return the offsets with which the segments begin that the only partition still has, from their files' headers."""
    instance = json.loads(Path(broker.removeprefix("shm://"), "broker.json").read_text())["instance"]
    bases = set()
    for path in SHM.glob(f"shmq-{instance}*/**/*"):
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(HEADER.size)
            if len(head) == HEADER.size and (unpacked := HEADER.unpack(head))[0] == MAGIC:
                bases.add(unpacked[1])
    return sorted(bases)


def records_each(bases: list[int]) -> int:
    """Return how many records a segment has, since all are of one size; ChildError if that is not so."""
    gaps = [second - first for first, second in itertools.pairwise(bases)]
    if not gaps or any(gap % min(gaps) for gap in gaps):
        raise ChildError(f"segments begin at {bases}: not a multiple of one number of records")
    return min(gaps)


def measure_peak(peak: Peak) -> Outcome:
    """Return the rate of the loop when each record is due at once, in records a second."""
    found = run(PEAK_SEGMENT_BYTES, PEAK_RECORDS, 0)
    peak.rates.append(PEAK_RECORDS / (found.returned_ns[-1] - found.first_ns) * 1e9)
    peak.record_bytes = PEAK_SEGMENT_BYTES / records_each(found.bases)
    return Outcome([peak.rates[-1]], {"record_bytes": peak.record_bytes})


def measure(peak: Peak, rolling: bool, seconds: float) -> Outcome:
    """Return the percentiles in microseconds: delivered, sent, and (with rolls) of the sends that rolled."""
    rate = peak.rate
    count = int(min(rate * seconds, MOST_SEGMENT_BYTES / peak.record_bytes / SPARE - WARM_RECORDS))
    wanted_bytes = rate * ROLL_EVERY_S * peak.record_bytes if rolling else count * peak.record_bytes * SPARE + (1 << 20)
    segment_bytes = int(min(MOST_SEGMENT_BYTES, max(LEAST_SEGMENT_BYTES, wanted_bytes // STEP_BYTES * STEP_BYTES)))
    found = run(segment_bytes, count, 1e9 / rate)
    if not rolling and len(found.bases) != 1:
        raise ChildError(f"a segment of {segment_bytes} bytes was to hold everything; segments begin at {found.bases}")
    spans = find_spans(found, rolling)
    values = [percentile(ordered, share) / 1000 for ordered in spans.values() for share in PERCENTILES.values()]
    notes = {"rate": rate, "records": float(count), "segment_bytes": float(segment_bytes)}
    notes["rolls"] = float(len(spans.get("rolling", ())))
    return Outcome(values, notes, {name: make_curve(ordered, 1e-3) for name, ordered in spans.items()})


def find_spans(found: Run, rolling: bool) -> dict[str, Sequence[float]]:
    """Return the latencies in nanoseconds, sorted, by the names of SPANS."""
    import numpy as np

    count = len(found.returned_ns)
    due_ns = found.first_ns + np.arange(count) * found.interval_ns
    sent_ns = np.asarray(found.returned_ns) - due_ns
    arrived_ns = np.repeat(*np.array([(now_ns, records) for now_ns, _, records in found.taken]).T)[WARM_RECORDS:]
    spans = {"delivered": np.sort(arrived_ns - due_ns), "sent": np.sort(sent_ns)}
    if rolling:
        each = records_each(found.bases)
        offsets = np.arange(WARM_RECORDS, WARM_RECORDS + count)
        spans["rolling"] = np.sort(sent_ns[(offsets - found.bases[0]) % each == 0])
    return {name: ordered.tolist() for name, ordered in spans.items()}


def steps(plan: Plan, _scratch: Scratch) -> Iterator[Step]:
    """The peak, then with and without, in turns."""
    peak, seconds = Peak(), plan.shorter(LONGEST_S).seconds
    for _ in range(plan.fewer_rounds if plan.wants(ShmqMemory.name) else 0):
        yield Step("rolls", "peak", ("rate",), "records/s", True, partial(measure_peak, peak))
        for name, rolling in ((WITH, True), (WITHOUT, False)):
            spans = SPANS if rolling else SPANS[:2]
            cases = tuple(f"{span} {percentile_name}" for span in spans for percentile_name in PERCENTILES)
            yield Step("rolls", name, cases, "us", False, partial(measure, peak, rolling, seconds))
