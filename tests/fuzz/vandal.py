"""Damage the files of a specimen again and again while others have them mapped: `python vandal.py DIRECTORY SEED`.

Each time they are put back, in place, so that whoever looks again finds a sound file for a while. Reads a line from
stdin to end, leaving everything as it was; says so with a line of its own.
"""

from __future__ import annotations

import os
import pickle
import random
import select
import struct
import sys
from pathlib import Path

from child import bound_waits
from mutations import KINDS
from specimen import Specimen, Topic

WAYS = sorted(KINDS.keys() - {"misplaced"})  # the others change what the files' names stand for


def main(image: Path, seed: int) -> None:
    specimen: Specimen = pickle.loads(image.read_bytes())
    rng = random.Random(seed)
    rounds = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        topic = rng.choice(specimen.topics)
        try:
            KINDS[rng.choice(WAYS)](rng, specimen, topic)
            bound_waits(topic)
        except (OSError, IndexError, ValueError, MemoryError, OverflowError, struct.error):
            pass  # retention took the file away, or it is too damaged already to be damaged in this way
        if rng.random() < 0.5:
            put_back(specimen, topic)
        rounds += 1
    for topic in specimen.topics:
        put_back(specimen, topic)
    print(rounds, flush=True)


def put_back(specimen: Specimen, topic: Topic) -> None:
    """In place where the file is still there: those who have it mapped see it."""
    for path, data in (*topic.files.items(), (specimen.procs, specimen.procs_bytes)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with open(descriptor, "wb") as file:
            file.truncate(len(data))
            file.write(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
