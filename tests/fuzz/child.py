"""Damage a topic and use it, many times over, in a process of its own.

    python child.py KIND FIRST COUNT     cases FIRST to FIRST + COUNT of one kind of damage, each to files at rest
    python child.py mapped SEED COUNT    COUNT passes over topics that another process damages all the while

A case is a kind and a number; `python child.py KIND NUMBER 1` replays it. What was done is written before it is tried,
so that the last line tells the case of a crash. Exit status 0: everything ended in an error of shmq.errors or in
records that were sent.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import pickle
import random
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from exercise import Exercise
from mutations import FORGING, KINDS, SMALL
from on_disk import Control
from specimen import Specimen, Topic

CASE_DEADLINE_S = 60  # with sanitizers on a busy machine; a case takes milliseconds
LONGEST_CLAIM_MS = 20


def main(kind: str, first: int, count: int) -> int:
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="shmq-fuzz-") as scratch:
        specimen = Specimen(Path(scratch) / "broker")
        try:
            if kind == "mapped":
                run_mapped(specimen, first, count, totals)
            else:
                for number in range(first, first + count):
                    run_case(specimen, kind, number, totals)
        finally:
            specimen.close()
    print(json.dumps(dict(totals)), flush=True)
    return 1 if totals["failed"] else 0


def run_case(specimen: Specimen, kind: str, number: int, totals: Counter[str]) -> None:
    rng = random.Random(f"{kind}:{number}")
    topic = rng.choice(specimen.topics)
    kinds = [*(rng.choice(SMALL) for _ in range(rng.choice((0, 0, 0, 1)))), kind]
    specimen.restore(topic)
    done = [f"{each}: {KINDS[each](rng, specimen, topic)}" for each in kinds]
    bound_waits(topic)
    print(f"case {kind} {number}: {topic.name}: {'; '.join(done)}", flush=True)
    run(Exercise(specimen, topic, rng, judged=topic.has_crc and not FORGING & set(kinds)), totals)


def run(exercise: Exercise, totals: Counter[str]) -> None:
    faulthandler.dump_traceback_later(CASE_DEADLINE_S, exit=True)
    try:
        exercise.run()
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        totals["failed"] += 1
    finally:
        faulthandler.cancel_dump_traceback_later()
    totals["cases"] += 1
    totals["delivered"] += exercise.delivered
    totals.update(exercise.errors)


def run_mapped(specimen: Specimen, seed: int, count: int, totals: Counter[str]) -> None:
    """Use the topics while a vandal is at work, unjudged; then, when it has left them as they were, judged."""
    image = specimen.directory.parent / "image"
    image.write_bytes(pickle.dumps(specimen))
    vandal = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("vandal.py")), str(image), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    rng = random.Random(seed)
    try:
        for _ in range(count):
            run(Exercise(specimen, rng.choice(specimen.topics), rng, judged=False, at_rest=False), totals)
        out, _ = vandal.communicate("\n", timeout=CASE_DEADLINE_S)
        totals["damages"] = int(out)
    finally:
        vandal.kill()
        vandal.wait()
    for topic in specimen.topics:
        specimen.restore(topic)
        before = totals["delivered"]
        run(Exercise(specimen, topic, rng, judged=topic.has_crc), totals)
        if topic.rows and totals["delivered"] == before:
            print(f"FAILED: nothing was read from {topic.name} after its files were put back")
            totals["failed"] += 1


def bound_waits(topic: Topic) -> None:
    """A claim_timeout_ms of an hour is obeyed, as it should be; nobody has the hour."""
    path = topic.directory / "control"
    if path.is_file() and not path.is_symlink() and path.stat().st_size >= 192:
        with open(path, "rb") as file:  # it may be of any length
            control = Control(path, file.read(192))
        if control.get("claim_timeout_ms") > LONGEST_CLAIM_MS:
            with open(path, "r+b") as file:
                file.seek(Control.fields["claim_timeout_ms"][0])
                file.write(LONGEST_CLAIM_MS.to_bytes(8, "little"))


if __name__ == "__main__":
    logging.disable()
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
