"""Arrays: filled and reduced in place on both sides; and what `send_array` costs beside the copy that it makes.

In place, each array is written word by word by one process (`fill`) and read word by word by another (`sum`, which
proves every word), and both sides poll. For `send_array` nobody reads meanwhile: arrays go into a ring that drops its
oldest segment, and in turns, in the same process, as many are copied into plain shared memory of the same size.
"""

from collections.abc import Iterator
from functools import partial
from statistics import median

from bench.children import Children
from bench.peers import Channel, Mode
from bench.peers.in_place import IN_PLACE, InPlace
from bench.peers.shmq_topic import create_topic
from bench.plan import NotHereError, Outcome, Plan, Step
from bench.roles.arrays import COPIED_DTYPE, SHAPE, TOPIC, copy_and_send, read_arrays, write_arrays
from bench.roles.transfer import CLOSE, Pace
from bench.scratch import Scratch, open_broker
from bench.suites.throughput import check_drained, transfer

SIZES_BYTES = {"64 KiB": 64 << 10, "1 MiB": 1 << 20}
LONGEST_S = 3.0
SEGMENT_BYTES, SEGMENTS = 4 << 20, 2
REPEATS, TURNS = 200, 5
COPY_TIMEOUT_S = 120.0
SENDERS = ("shmq send_array", "memcpy, ring", "memcpy, one place")


def check_arrays_api() -> None:
    """Raise NotHereError if this shmq is one without arrays."""
    from shmq import Consumer, Producer

    if not hasattr(Producer, "reserve") or not hasattr(Consumer, "poll_arrays"):
        raise NotHereError("this shmq has no reserve, send_array and poll_arrays")


def measure(peer_type: type[InPlace], size_bytes: int, pace: Pace, scratch: Scratch) -> Outcome:
    """Return the rate in arrays a second.

    Raises:
        ChildError: a process failed or hung, or an array was lost or is not what was written.
    """
    check_arrays_api()
    with scratch.directory(scratch.memory) as memory, scratch.directory(scratch.disk) as disk:
        peer = peer_type(Channel(memory.name, size_bytes, Mode.POLLING, memory, disk))
        try:
            sent, drained = transfer(peer, pace, write_arrays, read_arrays)
        finally:
            peer.remove()
    return Outcome([check_drained(sent, drained, pace)], {"received": float(drained.received)})


def measure_copies(found: dict[str, list[float]], repeats: int) -> Outcome:
    """Run `copy_and_send`, return its rate of sends, leave all its rates in `found` by the names of SENDERS."""
    check_arrays_api()
    with open_broker() as broker, Children() as children:
        item = {"dtype": COPIED_DTYPE, "shape": str(SHAPE[1]), "storage": "memory", "crc": False}
        ring = {"segment_bytes": SEGMENT_BYTES, "retention_bytes": SEGMENTS * SEGMENT_BYTES}
        create_topic(broker, TOPIC, {**item, **ring})
        child = children.start("client", copy_and_send, broker, SEGMENTS * SEGMENT_BYTES, repeats, TURNS)
        rates = children.expect(child, COPY_TIMEOUT_S)
        child.tell(CLOSE)
    found.update(dict(zip(SENDERS, (rates["send"], rates["ring"], rates["place"]), strict=True)))
    return take_copies(found, SENDERS[0])


def take_copies(found: dict[str, list[float]], name: str) -> Outcome:
    """Return the rate of one of SENDERS, from the turns of the last `measure_copies`."""
    if name not in found:
        raise NotHereError("measured with send_array, which is not here or failed")
    return Outcome([median(found[name])])


def steps(plan: Plan, scratch: Scratch) -> Iterator[Step]:
    """Every peer, turn by turn, for each size; then the copies, whose turns are within one process."""
    pace = plan.shorter(LONGEST_S)
    for name, size_bytes in SIZES_BYTES.items():
        for _ in range(plan.fewer_rounds):
            for peer in IN_PLACE:
                if plan.wants(peer.name) or peer.name == "one region":
                    run = partial(measure, peer, size_bytes, pace, scratch)
                    yield Step("arrays", peer.name, (f"in place {name}",), "arrays/s", True, run)
    case = ("sent (1000, 256) float32",)
    for _ in range(plan.fewer_rounds if plan.wants("shmq") else 0):
        found: dict[str, list[float]] = {}
        yield Step(
            "arrays", SENDERS[0], case, "arrays/s", True, partial(measure_copies, found, plan.either(REPEATS, 50))
        )
        for name in SENDERS[1:]:
            yield Step("arrays", name, case, "arrays/s", True, partial(take_copies, found, name))
