"""The producer that dies: `python -m bench.roles.victim BROKER TOPIC STAMP_FILE`, started by `healing`.

Says on stdout that it is an ordinary producer by now, waits on stdin for the word, arms itself, writes the time into
the stamp file and sends once more: that send claims, and is killed before it commits.
"""

import mmap
import sys
import time
from pathlib import Path

ALIVE = b"alive"
LOST = b"lost"


def arm() -> None:
    """Have the kernel kill this process (SIGKILL) right after its next claim."""
    from shmq import _native

    _native.fault_arm("journal.claim.after", 1)


def main(broker: str, topic: str, stamp_path: str) -> None:
    """Send, arm, die. Returns only if the parent went away."""
    from shmq import Producer

    with Path(stamp_path).open("r+b") as stamp_file:
        stamp = mmap.mmap(stamp_file.fileno(), 8)
    producer = Producer(bootstrap_servers=broker)
    producer.send(topic, ALIVE)
    sys.stdout.buffer.write(b"r")
    sys.stdout.buffer.flush()
    if not sys.stdin.buffer.read(1):
        return
    arm()
    stamp[:] = time.perf_counter_ns().to_bytes(8, "little")
    producer.send(topic, LOST)
    sys.exit("survived its own death: is the fault point built in?")


if __name__ == "__main__":
    main(*sys.argv[1:])
