"""Damage a topic and use it, many times over, in a process of its own: `python child.py KIND FIRST COUNT`.

A case is a kind and a number; `python child.py KIND NUMBER 1` replays it. What was done is written before it is tried,
so that the last line tells the case of a crash. Exit status 0: every case ended in an error of shmq.errors or in
records that were sent.
"""

from __future__ import annotations

import faulthandler
import json
import random
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from exercise import Exercise
from mutations import FORGING, KINDS, SMALL
from on_disk import Control
from specimen import Specimen, Topic

CASE_DEADLINE_S = 20  # with sanitizers on a busy machine; a case takes milliseconds
LONGEST_CLAIM_MS = 20


def main(kind: str, first: int, count: int) -> int:
    seen: Counter[str] = Counter()
    failed = delivered = 0
    with tempfile.TemporaryDirectory(prefix="shmq-fuzz-") as scratch:
        specimen = Specimen(Path(scratch) / "broker")
        try:
            for number in range(first, first + count):
                errors, records = run_case(specimen, kind, number)
                failed += errors is None
                delivered += records
                seen.update(errors or ())
        finally:
            specimen.close()
    print(json.dumps({"cases": count, "failed": failed, "delivered": delivered, "errors": dict(seen)}), flush=True)
    return 1 if failed else 0


def run_case(specimen: Specimen, kind: str, number: int) -> tuple[dict[str, int] | None, int]:
    """Errors by name and records delivered; errors None: the rule was broken."""
    rng = random.Random(f"{kind}:{number}")
    topic = rng.choice(specimen.topics)
    kinds = [*(rng.choice(SMALL) for _ in range(rng.choice((0, 0, 0, 1)))), kind]
    specimen.restore(topic)
    done = [f"{each}: {KINDS[each](rng, specimen, topic)}" for each in kinds]
    _bound_waits(topic)
    print(f"case {kind} {number}: {topic.name}: {'; '.join(done)}", flush=True)
    exercise = Exercise(specimen, topic, rng, forged=bool(FORGING & set(kinds)))
    faulthandler.dump_traceback_later(CASE_DEADLINE_S, exit=True)
    try:
        exercise.run()
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        print(f"FAILED case {kind} {number}", flush=True)
        return None, exercise.delivered
    finally:
        faulthandler.cancel_dump_traceback_later()
    return exercise.errors, exercise.delivered


def _bound_waits(topic: Topic) -> None:
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
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
