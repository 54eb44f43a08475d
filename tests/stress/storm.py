"""A seeded storm: processes that are killed, stopped and replaced while others go on.

Owns: forking them, hitting them, and holding each to the way in which it may end.
Must never: judge what was sent and read, or let a process end in a way that nobody ordered.
Sits: over `players` and the crash tests' `crew`; the tests call it.

The seed decides who does what and when it is hit; how far it has come by then is the machine's.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from account import Pass
from crew import Actor, leave
from players import DEADLINE_S, IN_AN_APPEND, Scene, Witness, inspect, produce, wander

from shmq import TopicPartition

CAST = {"producer": (produce, 4), "reader": (wander, 2), "inspector": (inspect, 1)}
WITNESSES = 2
LONGEST_LIFE_S, LONGEST_STOP_S = 1.0, 0.08


class Mortal:
    """A forked process that may be killed at any time. Standard error, where fault points tell their names, is a file."""

    def __init__(self, role: str, name: str, scene: Scene, rng: random.Random, wind: int) -> None:
        self.role, self.name = role, name
        self._errors = scene.told.parent / f"{name}.errors"
        self.is_ordered_to_die = False
        self._hits = 0  # by fault points, as far as they were counted
        body = CAST[role][0]
        errors = os.open(self._errors, os.O_WRONLY | os.O_CREAT)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(wind)
            os.dup2(errors, 2)
            leave(lambda: body(scene, name, rng))
        os.close(errors)

    @property
    def points(self) -> list[str]:
        """The fault points at which it was hit."""
        lines = self._errors.read_text().splitlines()
        return [line.removeprefix("fault point ") for line in lines if line.startswith("fault point ")]

    def how(self, hit: str) -> str:
        """What kind of hit this was: "stop" or "kill", with the fault point if it was one that hit it."""
        points = self.points
        if len(points) == self._hits:
            return hit
        self._hits = len(points)
        return f"{hit} at {points[-1]}"

    def check_end(self, status: int, *, is_calm: bool) -> None:
        """It was killed by order or by its own fault point, or it ended well when the storm was over; else fail."""
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert (is_killed and (self.is_ordered_to_die or self.points)) or (is_calm and status == 0), (
            f"{self.role} {self.name} ended by itself with status {status}, and told:\n{self._errors.read_text()}"
        )


class Storm:
    """Everybody who acts over some partitions; the files of what they tell lie in `directory`.

    Attributes:
        hits: Kills and stops so far, by order ("kill", "stop") or at a fault point ("kill at journal.claim.after", ...).
    """

    def __init__(self, address: str, places: list[TopicPartition], directory: Path, seed: int) -> None:
        told = directory / "told"
        told.mkdir(parents=True)
        calm, self._wind = os.pipe()
        self.scene = Scene(address, places, told, calm)
        self.hits: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._names = 0
        self._mortals: dict[int, Mortal] = {}
        self._witnesses: list[Actor] = []
        self._due: list[tuple[float, int, int]] = []  # when, whom, with which signal

    @property
    def _is_calm(self) -> bool:
        return self._wind < 0

    def hits_in_appends(self, hit: str) -> int:
        """Producers that were certainly killed, or stopped, between their claim and their commit."""
        return sum(self.hits[f"{hit} at {point}"] for point in IN_AN_APPEND)

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Everybody at work; afterwards nobody is left, however it went."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        try:
            for number in range(WITNESSES):
                self._witnesses.append(Actor(lambda name=f"w{number}": self._witness(name)))
                self._witnesses[-1].cast("watch")
                self._plan(self._witnesses[-1].pid)
            for role, (_, count) in CAST.items():
                for _ in range(count):
                    self._start(role)
            yield
            while self._witnesses:
                self._witnesses.pop().end()
        finally:
            for pid in [*self._mortals, *(witness.pid for witness in self._witnesses)]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            os.close(self.scene.calm)
            if not self._is_calm:
                os.close(self._wind)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def blow(self, is_enough: Callable[[], bool]) -> None:
        """Hit one after another, and replace the dead."""
        while not is_enough():
            now = time.monotonic()
            for each in [each for each in self._due if each[0] <= now]:
                self._due.remove(each)
                self._hit(each[1], each[2])
            for mortal in self._bury():
                self._start(mortal.role)
            self._wait_for_news(min(each[0] for each in self._due))

    def calm(self) -> None:
        """Kill every other one, and let the rest go on and come to a good end."""
        os.close(self._wind)
        self._wind = -1
        self._due.clear()
        for pid in list(self._mortals)[::2]:
            self._hit(pid, signal.SIGKILL)
        for pid in [*self._mortals, *(witness.pid for witness in self._witnesses)]:
            os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + DEADLINE_S
        while self._mortals:
            late = [mortal.name for mortal in self._mortals.values()]
            assert time.monotonic() < deadline, f"{late} hang: not at their end {DEADLINE_S} s after the storm"
            self._bury()
            for _, pid, number in self._due:  # stopped at a fault point of its own, just now
                os.kill(pid, number)
            self._due.clear()
            self._wait_for_news(time.monotonic() + 0.1)
        for witness in self._witnesses:
            witness.answer(DEADLINE_S)

    def passes(self, method: str) -> list[dict[TopicPartition, Pass]]:
        """Let each witness `finish` or `read_again`; what they read."""
        return [witness.call(method, timeout_s=2 * DEADLINE_S) for witness in self._witnesses]

    # -- hits ---------------------------------------------------------------------------------------------------------

    def _hit(self, pid: int, number: int) -> None:
        if number == signal.SIGKILL:
            self._mortals[pid].is_ordered_to_die = True
        os.kill(pid, number)
        if number == signal.SIGCONT:
            self._plan(pid)

    def _plan(self, pid: int) -> None:
        """Decide how this process will be hit next; a witness is only stopped."""
        number = self._random.choice((signal.SIGKILL, signal.SIGSTOP)) if pid in self._mortals else signal.SIGSTOP
        self._due.append((time.monotonic() + self._random.uniform(0, LONGEST_LIFE_S), pid, number))

    def _plan_after_stop(self, pid: int) -> None:
        """Decide when it goes on, or that it never does."""
        dies = self._random.random() < 0.2 and pid in self._mortals and not self._is_calm
        number = signal.SIGKILL if dies else signal.SIGCONT
        self._due.append((time.monotonic() + self._random.uniform(0, LONGEST_STOP_S), pid, number))

    def _bury(self) -> list[Mortal]:
        """Take note of who was stopped, and of who is dead, which are returned."""
        dead = []
        for pid in [*self._mortals, *(witness.pid for witness in self._witnesses)]:
            found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if not found:
                continue
            mortal = self._mortals.get(pid)
            self._due = [each for each in self._due if each[1] != pid]
            if os.WIFSTOPPED(status):
                self.hits[mortal.how("stop") if mortal else "stop"] += 1
                self._plan_after_stop(pid)
                continue
            assert mortal, f"a witness ended with status {status}; it told why on standard error"
            del self._mortals[pid]
            mortal.check_end(status, is_calm=self._is_calm)
            if os.WIFSIGNALED(status):
                self.hits[mortal.how("kill")] += 1
            dead.append(mortal)
        return dead

    def _wait_for_news(self, until: float) -> None:
        """Sleep until a child dies or stops, or it is time for a hit."""
        signal.sigtimedwait([signal.SIGCHLD], max(0.0, until - time.monotonic()))

    # -- the processes ------------------------------------------------------------------------------------------------

    def _start(self, role: str) -> None:
        self._names += 1
        rng = random.Random(self._random.random())
        mortal = Mortal(role, f"{role}{self._names}", self.scene, rng, self._wind)
        self._mortals[mortal.pid] = mortal
        self._plan(mortal.pid)

    def _witness(self, name: str) -> Witness:
        os.close(self._wind)
        return Witness(self.scene, name)
