"""How long a killed producer's hole holds up a reader.

Again and again: a producer process is killed (SIGKILL) between claim and commit; when `waitpid` has it dead, a second
producer sends a record; a reader in a third process must step over the hole to get it. Two times are taken, both up
to the reader having that record: from just before the fatal send (which includes the kernel tearing the process down)
and from its death being observed. perf_counter_ns is CLOCK_MONOTONIC, the same in all processes of a machine.

The offsets prove that each kill left a claim behind: alive, hole, next record, with nothing in between.
"""

from collections.abc import Iterator
from functools import partial

from bench.children import CONTEXT, Children
from bench.peers import Channel, Mode
from bench.peers.shmq_topic import ShmqMemory
from bench.plan import Outcome, Plan, Step, make_curve, percentile
from bench.roles.healing import kill_and_send, read_on
from bench.roles.transfer import GO
from bench.scratch import Scratch

SIZE_BYTES = 8
START_TIMEOUT_S = 30.0
KILL_TIMEOUT_S = 10.0
CASES = ("p50", "p99", "max", "p50 after waitpid", "p99 after waitpid", "max after waitpid")


def measure(mode: Mode, kills: int, scratch: Scratch) -> Outcome:
    """Return p50, p99 and the longest in milliseconds: from the fatal send, then from the death observed.

    Raises:
        ChildError: a process failed or hung, a victim survived, a record was lost, or a kill left no hole.
    """
    with scratch.directory(scratch.memory) as memory, scratch.directory(scratch.disk) as disk:
        peer = ShmqMemory(Channel(memory.name, SIZE_BYTES, mode, memory, disk))
        stamp_path = memory / "stamp"
        stamp_path.write_bytes(bytes(8))
        try:
            times_ns = kill_repeatedly(peer, str(stamp_path), kills)
        finally:
            peer.remove()
    from_send_ns, from_death_ns = (sorted(column) for column in zip(*times_ns, strict=True))
    values = [
        value / 1e6
        for column in (from_send_ns, from_death_ns)
        for value in (percentile(column, 0.5), percentile(column, 0.99), column[-1])
    ]
    return Outcome(values, {"kills": float(len(times_ns))}, {str(mode): make_curve(from_send_ns, 1e-6)})


def kill_repeatedly(peer: ShmqMemory, stamp_path: str, kills: int) -> list[tuple[int, int]]:
    """Run reader and driver; return both times of each kill, in nanoseconds."""
    heard, told = CONTEXT.Pipe(duplex=False)
    with heard, told, Children() as children:
        reader = children.start("reader", read_on, peer, told, kills)
        children.expect(reader, START_TIMEOUT_S)
        driver = children.start("driver", kill_and_send, peer, heard, stamp_path, kills)
        children.expect(driver, START_TIMEOUT_S)
        driver.tell(GO)
        times_ns: list[tuple[int, int]] = children.expect(driver, START_TIMEOUT_S + kills * KILL_TIMEOUT_S)
        reader.tell(GO)
    return times_ns


def steps(plan: Plan, scratch: Scratch) -> Iterator[Step]:
    """A reader that polls, a reader that sleeps."""
    if plan.wants(ShmqMemory.name):
        for mode in (Mode.POLLING, Mode.ASLEEP):
            cases = tuple(f"{mode} {name}" for name in CASES)
            run = partial(measure, mode, plan.kills, scratch)
            yield Step("healing", ShmqMemory.name, cases, "ms", False, run)
