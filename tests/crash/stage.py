"""Runs one scenario: a fresh topic, two survivors, a victim; and looks at everything that is left.

Owns: the order of events, and what must hold after each death and each stop.
Must never: take a survivor's silence for good: every step has a deadline.
Sits: over `scenarios` and `crew`; the tests call it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crew import ENDED, STOPPED, Act, Actor, Victim, Watcher, Writer
from ledger import Ledger
from scenarios import SEGMENT_BYTES, Scenario

from shmq import Admin, _native
from shmq.store import Topics

STILL_MS = 60_000  # claim timeout where only a death may end a claim
STOP_MS = 15  # and where a stop shall
MOST_POINTS = 200  # a victim that waits passes points for ever
MOST_TRIES = 40


class Stage:
    """A broker, a writer and a watcher that survive, and the topics that victims die over."""

    def __init__(self, address: str, admin: Admin, scenario: Scenario) -> None:
        self.address, self._admin, self._scenario = address, admin, scenario
        self._topics = Topics(admin.broker)
        if scenario.slots != 1024:
            self._shrink_table(scenario.slots)
        self._actors = contextlib.ExitStack()
        with self._actors:
            self.writer = self._actor(lambda: Writer(address))
            self.watcher = self._actor(lambda: Watcher(address))
            self._actors = self._actors.pop_all()
        self.asleep = self.writing = False
        self._runs = 0
        self._ledger = Ledger()
        self.reached: set[str] = set()

    def walk(self, number: int) -> int:
        """Let the victim be killed or stopped at its 1st, 2nd, 3rd ... point; how many there were."""
        for nth in range(1, MOST_POINTS):
            for _ in range(MOST_TRIES):
                outcome, as_it_should_be = self._run(nth, number)
                if outcome != ENDED or as_it_should_be:
                    break
            else:
                raise AssertionError(f"never came to {self._scenario.must!r}")
            if outcome == ENDED:
                return nth - 1
        raise AssertionError(f"still dying after {MOST_POINTS} points")

    def write(self, topic: str, count: int, size: int = 0) -> None:
        """Let the writer send."""
        self._ledger.acknowledged["writer"] = self.writer.call("send", topic, count, size)

    def watch(self, topic: str) -> None:
        """Let the watcher read all that was acknowledged."""
        if self.asleep:
            self.watcher.answer()
            self.asleep = False
        self._ledger.add(self.watcher.call("read_until", dict(self._ledger.acknowledged)))

    def directory(self, topic: str) -> Path:
        """Of its partition 0."""
        return Path(self._topics.find(topic).partition_directory(0))

    @contextlib.contextmanager
    def partition(self, topic: str) -> Iterator[_native.Partition]:
        """Its partition 0, opened for a while."""
        with self._topics.opened(self._topics.find(topic)) as [partition]:
            yield partition

    def close(self) -> None:
        """End the survivors."""
        self._actors.close()

    def _actor(self, make: Any) -> Actor:
        actor = Actor(make)
        self._actors.callback(actor.end)
        return actor

    def _run(self, nth: int, number: int) -> tuple[str, bool]:
        """One victim: how it ended, and whether the scenario went as it must."""
        self._runs += 1
        topic = f"run-{self._runs}"
        claim_timeout_ms = STOP_MS if number == signal.SIGSTOP else STILL_MS
        configs = {"storage": "memory", "segment_bytes": SEGMENT_BYTES, "retention_bytes": 8 * SEGMENT_BYTES}
        self._admin.create_topics(
            {topic: {"configs": configs | {"claim_timeout_ms": claim_timeout_ms} | self._scenario.configs}}
        )
        self._ledger = Ledger({"victim": 0})
        self.watcher.call("open", topic)
        self._scenario.prepare(self, topic)
        victim = Victim(lambda: self._scenario.body(Act(self.address, topic, nth, number)))
        try:
            self._scenario.meanwhile(self, topic, victim)
            outcome = victim.wait()
            if victim.point:
                self.reached.add(victim.point)
            if outcome == STOPPED:
                if not self._scenario.holds:
                    self._go_on(topic, victim)
                victim.go_on()
                self._scenario.meanwhile(self, topic, victim)
                assert victim.wait() == ENDED
            self._go_on(topic, victim)
            self._judge(topic, victim, outcome)
        except AssertionError as error:
            error.add_note(f"{self._scenario.body.__name__}, point {nth}: {victim.point}, told:\n{victim.told}")
            raise
        finally:
            victim.close()
        self._admin.delete_topics([topic])
        return outcome, self._scenario.must in victim.told

    def _go_on(self, topic: str, victim: Victim) -> None:
        """The survivors send and read on, whatever the victim left."""
        self._ledger.acknowledged["victim"] = victim.sent
        if self.writing:
            self.watch(topic)  # makes space
            self._ledger.acknowledged["writer"] = self.writer.answer()
            self.writing = False
        self.write(topic, 2)
        self.watch(topic)

    def _judge(self, topic: str, victim: Victim, outcome: str) -> None:
        self._ledger.check(self._scenario.batch if outcome not in (ENDED, STOPPED) else 0)
        for ours, theirs in zip(victim.seen, self._ledger.seen, strict=False):
            assert ours == theirs, f"the victim read {ours} where the watcher read {theirs}"
        with self.partition(topic) as partition:
            assert partition.verify() is None
            partition.clean()
            census = partition.census()
        assert census["claimed"] == 0, "a claim is open although a reader has passed it"
        files = [name for name in os.listdir(self.directory(topic)) if name != "control"]
        assert len(files) == census["segments"] + census["spares"], f"orphans among {files}"

    def _shrink_table(self, slots: int) -> None:
        procs = Path(self._admin.broker.directory) / "procs"
        procs.unlink()
        _native.create_procs(str(procs), self._admin.broker.instance, slots)


@contextlib.contextmanager
def staged(address: str, admin: Admin, scenario: Scenario) -> Iterator[Stage]:
    """A stage, closed in the end however it went."""
    stage = Stage(address, admin, scenario)
    try:
        yield stage
    finally:
        stage.close()
