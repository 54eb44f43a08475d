"""A process is killed, or stopped, at its 1st, 2nd, 3rd ... step with a large payload; others go on, and clean up."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from crew import ENDED, KILLED, STOPPED, Victim
from sources import PACKAGE, fault_points

from shmq import _native
from shmq.blobs import Blobs
from shmq.blobs.file import BlobFile
from shmq.errors import PayloadGoneError

MIB = 1 << 20
MOST_POINTS = 60
NOBODY = 1 << 50 | 5  # a tenant that no slot ever had
KEPT, ONCE = MIB, 150 * MIB
REACHED: set[str] = set()


def payload_of(letter: str, size: int = KEPT) -> bytes:
    return letter.encode() * size


class Told:
    """What a victim does to blobs, with references that survive it."""

    def __init__(self, blobs: Blobs, directory: Path, given: bytes | None) -> None:
        self.blobs, self.directory, self.given = blobs, directory, given

    def write(self, letter: str, size: int = KEPT) -> bytes:
        reference = self.blobs.write([payload_of(letter, size)])
        self.tell("wrote", reference)
        return reference

    def read(self, reference: bytes, *, keep: bool = False) -> None:
        try:
            data = self.blobs.read(reference, keep)
        except PayloadGoneError:
            self.tell("gone", reference)
            return
        assert data in (payload_of("a", len(data)), payload_of("b", len(data))), "torn"
        self.tell(f"read-{chr(data[0])}", reference)

    def tell(self, word: str, reference: bytes) -> None:
        os.write(2, f"{word} {reference.hex()}\n".encode())


@dataclass
class Act:
    """What a victim does; `given`: the size of a payload that a survivor wrote for it."""

    body: Callable[[Told], object]
    prepare: Callable[[Told], object] = lambda told: None
    given: int = 0
    lost: int = 0  # steps at which a death leaves a file for which nobody has the reference; it goes with the queue
    kept: bool = False  # whoever comes next must have the payload given, until it is released
    extra: dict[str, Any] = field(default_factory=dict)


def write_for_a_dead_reader(told: Told) -> None:
    reference = told.write("a")
    [name] = os.listdir(told.directory)
    BlobFile.open(os.path.join(told.directory, name)).attend(NOBODY)
    told.tell("read-a", reference)


def write_and_read(told: Told) -> None:
    told.read(told.write("a"))


ACTS = {
    "write a new one": Act(lambda told: told.write("a"), lost=1),
    "write one for once": Act(lambda told: told.write("a", ONCE), lost=1),
    "write again": Act(lambda told: told.write("b"), write_and_read, lost=1),
    "read": Act(lambda told: told.read(told.given), given=KEPT, lost=3),
    "read one for once": Act(lambda told: told.read(told.given), given=ONCE),
    "read and keep": Act(lambda told: told.read(told.given, keep=True), given=KEPT, kept=True),
    "read one for once and keep": Act(lambda told: told.read(told.given, keep=True), given=ONCE, kept=True),
    "release": Act(lambda told: told.blobs.release(told.given), given=KEPT, kept=True),
    "close with one unread": Act(lambda told: told.blobs.close(), lambda told: told.write("a")),
    "sweep": Act(lambda told: told.blobs.sweep(), write_for_a_dead_reader),
    "close with one free": Act(lambda told: told.blobs.close(), write_and_read),
    "read the last of a closed one": Act(lambda told: told.read(told.given), given=KEPT, lost=3, extra={"close": True}),
}


class Stage:
    """A directory, a survivor that writes, and victims."""

    def __init__(self, broker: Any, act: Act) -> None:
        self.broker, self.act = broker, act
        broker.has_deaths = True
        self.directory = Path(broker.admin.broker.memory_directory) / "queue"
        self.directory.mkdir(mode=0o700)
        self.process = _native.Process(broker.directory, broker.admin.broker.instance)
        self.writer = Blobs(str(self.directory), self.process)
        self.given = self.writer.write([payload_of("a", act.given)]) if act.given else None
        if act.extra.get("close"):
            self.writer.close()

    def victim(self, nth: int, number: int) -> Victim:
        def body() -> None:
            process = _native.Process(self.broker.directory, self.broker.admin.broker.instance)
            told = Told(Blobs(str(self.directory), process), self.directory, self.given)
            self.act.prepare(told)
            _native.fault_arm(None, nth, number)
            self.act.body(told)
            _native.fault_arm(None, 0)

        return Victim(body)

    def close(self) -> list[str]:
        """Let everybody else go; what is left."""
        self.writer.close()
        Blobs(str(self.directory), self.process).close()
        self.process.close()
        left = os.listdir(self.directory)
        for each in left:
            (self.directory / each).unlink()
        self.directory.rmdir()
        return left


def told_by(victim: Victim, word: str) -> list[bytes]:
    return [bytes.fromhex(found) for found in re.findall(rf"^{word} (\w+)$", victim.told, re.MULTILINE)]


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_what_is_left_of_a_process_that_is_killed_with_a_payload_is_read_or_taken_away(act, broker):
    lost = 0
    for nth in range(1, MOST_POINTS):
        stage = Stage(broker, act)
        victim = stage.victim(nth, signal.SIGKILL)
        outcome = victim.wait()
        victim.close()
        REACHED.add(victim.point)
        survivor = Blobs(str(stage.directory), stage.process)

        for reference in set(told_by(victim, "wrote")) - set(told_by(victim, "read-.")):
            assert survivor.read(reference) in (payload_of("a", KEPT), payload_of("b", KEPT), payload_of("a", ONCE))
        if act.kept and survivor.release(stage.given) is False:
            assert act is ACTS["release"]
        elif act.kept:
            with pytest.raises(PayloadGoneError):
                survivor.read(stage.given, keep=True)
        if act.given and not act.extra:
            for letter in "bbb":  # whoever died over its payload, the writer goes on
                assert survivor.read(stage.writer.write([payload_of(letter)])) == payload_of(letter)
            assert stage.writer.made <= 3
        survivor.close()
        left = stage.close()
        assert len(left) <= 1, f"at {victim.point}: {left}"
        lost += len(left)
        if outcome == ENDED:
            assert left == []
            break
        assert outcome == KILLED

    assert outcome == ENDED, f"still dying after {MOST_POINTS} points"
    assert lost == act.lost


@pytest.mark.parametrize(
    ("act", "outcomes"),
    [(ACTS["read and keep"], {"gone", "read-a"}), (ACTS["read one for once and keep"], {"read-a"})],
    ids=["kept", "once"],  # one for once is open at its only step, so that it can be read to the end
)
def test_a_reader_that_was_stopped_while_others_wrote_the_file_again_has_its_own_payload_or_none(act, outcomes, broker):
    seen = set()
    for nth in range(1, MOST_POINTS):
        stage = Stage(broker, act)
        victim = stage.victim(nth, signal.SIGSTOP)
        outcome = victim.wait()
        if outcome == STOPPED:
            stage.writer.release(stage.given)
            again = stage.writer.write([payload_of("b", act.given)])
            victim.go_on()
            assert victim.wait() == ENDED, victim.told
            stage.writer.release(again)
        stage.writer.release(stage.given)
        victim.close()
        seen.update(re.findall(r"^(gone|read-.) ", victim.told, re.MULTILINE))
        assert stage.close() == []
        if outcome == ENDED:
            break

    assert outcome == ENDED
    assert seen == outcomes


def test_a_writer_that_was_stopped_and_taken_for_dead_writes_again_elsewhere(broker):
    """A sweep that finds its slot another's: nothing that it does then reaches a file that others may have."""
    act = ACTS["write again"]
    for nth in range(1, MOST_POINTS):
        stage = Stage(broker, act)
        victim = stage.victim(nth, signal.SIGSTOP)
        outcome = victim.wait()
        if outcome == STOPPED:
            for name in os.listdir(stage.directory):
                path = stage.directory / name
                with open(path, "r+b") as file:  # as if its slot had a new tenant
                    file.seek(8)
                    file.write(b"\xff" * 6)
            Blobs(str(stage.directory), stage.process).close()
            victim.go_on()
            assert victim.wait() == ENDED, victim.told
        victim.close()
        survivor = Blobs(str(stage.directory), stage.process)
        assert survivor.read(told_by(victim, "wrote")[-1]) == payload_of("b")
        survivor.close()
        assert stage.close() == []
        if outcome == ENDED:
            break

    assert outcome == ENDED


def test_every_fault_point_of_blobs_was_reached(request):
    """By the first test above, if all of it ran."""
    ran = sum(item.path == request.path and "killed" in item.name for item in request.session.items)
    if ran < len(ACTS):
        pytest.skip("only some acts were chosen")
    text = "".join(path.read_text() for path in (PACKAGE / "blobs").glob("*.py"))
    python = set(re.findall(r'fault_point\("([^"]+)"\)', text))

    assert len(python) >= 7
    assert python | {point for point in fault_points() if point.startswith("cell.")} <= REACHED
