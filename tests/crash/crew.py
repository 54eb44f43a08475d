"""The processes of a crash test: survivors that do as they are told, and victims that are killed or stopped.

Owns: forking them, talking to them with deadlines, and ending them, each by its own pid.
Must never: wait without a deadline, or know what a test wants to see.
Sits: over `ledger` and the package's public face.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from ledger import Seen, make_value, read_value

from shmq import Consumer, Producer, TopicPartition, _native

DEADLINE_S = 5.0
KILLED, STOPPED, ENDED = "killed", "stopped", "ended"


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """Ask again and again until `condition` is true; return what it gave. Fails after a deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        select.select([], [], [], 0.0002)
    return value


def reap(pid: int, options: int = 0, timeout_s: float = DEADLINE_S) -> int:
    """waitpid with a deadline; the status."""

    def gone() -> tuple[int] | None:
        found, status = os.waitpid(pid, options | os.WNOHANG)
        return (status,) if found else None

    return wait_for(gone, f"process {pid} to end or stop", timeout_s)[0]


def leave(function: Callable[[], None]) -> NoReturn:
    """Run a forked child's part and end it here, without the parent's atexit, buffers and tests."""
    status = 1
    try:
        function()
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    os._exit(status)


class Actor:
    """A forked process that holds an object and calls its methods when told to."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._pipe, theirs = Pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._pipe.close()
            leave(lambda: _serve(make, theirs))
        theirs.close()
        self.answer()  # it is ready

    def call(self, method: str, *args: Any, timeout_s: float = DEADLINE_S) -> Any:
        """Call a method over there and return its result, or fail with its error."""
        self.cast(method, *args)
        return self.answer(timeout_s)

    def cast(self, method: str, *args: Any) -> None:
        """Begin a call; `answer` ends it."""
        self._pipe.send((method, args))

    def answer(self, timeout_s: float = DEADLINE_S) -> Any:
        """The result of the call that was begun."""
        assert self._pipe.poll(timeout_s), f"survivor {self.pid} hangs: no answer within {timeout_s} s"
        try:
            result, error = self._pipe.recv()
        except EOFError:
            raise AssertionError(f"survivor {self.pid} is gone; it told why on standard error") from None
        assert error is None, f"survivor {self.pid}:\n{error}"
        return result

    def end(self) -> None:
        """Let it close what it holds, and wait until it is gone; kill it if it cannot."""
        try:
            self._pipe.send(None)
            reap(self.pid)
        except (AssertionError, OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise
        finally:
            self._pipe.close()


def _serve(make: Callable[[], Any], pipe: Connection) -> None:
    with make() as target:
        pipe.send((None, None))
        with contextlib.suppress(EOFError):
            while (order := pipe.recv()) is not None:
                try:
                    pipe.send((getattr(target, order[0])(*order[1]), None))
                except Exception:
                    pipe.send((None, traceback.format_exc()))


class Writer:
    """A survivor that sends."""

    def __init__(self, address: str, **configs: Any) -> None:
        self._producer = Producer(bootstrap_servers=address, **configs)
        self._sent: dict[str, int] = {}

    def send(self, topic: str, count: int, size: int = 0) -> int:
        """Send `count` more values of "writer"; how many it sent to that topic by now, all acknowledged."""
        for _ in range(count):
            index = self._sent.get(topic, 0)
            self._producer.send(topic, make_value("writer", index, size)).get(timeout=DEADLINE_S)
            self._sent[topic] = index + 1
        return self._sent.get(topic, 0)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()


class Watcher:
    """A survivor that reads one topic from its beginning."""

    def __init__(self, address: str, **configs: Any) -> None:
        configs = {"auto_offset_reset": "earliest", "spin_us": 0, **configs}
        self._consumer = Consumer(bootstrap_servers=address, **configs)
        self._fresh: list[Seen] = []
        self._counts: dict[str, int] = {}

    def open(self, topic: str) -> None:
        """Read this topic from now on, and nothing else; another one may have had its name before."""
        self._consumer.unsubscribe()
        self.follow([TopicPartition(topic, 0)])

    def follow(self, places: list[TopicPartition]) -> None:
        """Read these."""
        self._consumer.assign(places)
        self._fresh, self._counts = [], {}

    def read_until(self, counts: dict[str, int]) -> list[Seen]:
        """Read until it has so many records of each sender; all since the last time. Fails if one is broken."""
        return self._read(lambda: all(self._counts.get(name, 0) >= count for name, count in counts.items()), DEADLINE_S)

    def read_until_healed(self, timeout_s: float) -> int:
        """Read, without sleeping, until a claim was given up or time is up; how many were."""
        before = self._healed()
        self._fresh = self._read(lambda: self._healed() > before, timeout_s, poll_ms=0)
        return self._healed() - before

    def catch_up(self) -> None:
        """Poll once more: what an earlier poll gave has been processed then."""
        self.take(0)

    def sleep_until_record(self) -> None:
        """Poll once, asleep until a record comes."""
        self.take(2000)

    def rescued(self) -> int:
        """Sleeps that only their bound ended."""
        return int(self._consumer.metrics()["consumer-metrics"]["sleep-rescued-total"])

    def _healed(self) -> int:
        return int(self._consumer.metrics()["consumer-metrics"]["claims-healed-total"])

    def _read(self, done: Callable[[], bool], timeout_s: float, poll_ms: int = 20) -> list[Seen]:
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                assert poll_ms == 0, f"no more than {self._counts} within {timeout_s} s"
                break
            self.take(poll_ms)
        fresh, self._fresh = self._fresh, []
        return fresh

    def take(self, timeout_ms: int) -> None:
        """Poll once."""
        for records in self._consumer.poll(timeout_ms=timeout_ms).values():
            for record in records:
                seen = read_value(record.offset, record.value)
                self._fresh.append(seen)
                self._counts[seen.name] = self._counts.get(seen.name, 0) + 1

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


class Act:
    """What a victim has in hand: a fault point that it arms, and a line to tell what it has done so far."""

    def __init__(self, address: str, topic: str, nth: int, number: int, name: str | None = None) -> None:
        self.address, self.topic = address, topic
        self._nth, self._number, self._name = nth, number, name
        self._sent = 0

    def arm(self) -> None:
        """From here on count the points."""
        _native.fault_arm(self._name, self._nth, self._number)

    def disarm(self) -> None:
        """Up to here."""
        _native.fault_arm(None, 0)

    def send(self, producer: Producer, count: int = 1, size: int = 0) -> None:
        """Send values of "victim" one by one, and tell of each when it was acknowledged."""
        for _ in range(count):
            producer.send(self.topic, make_value("victim", self._sent, size)).get(timeout=DEADLINE_S)
            self.sent(1)

    def send_many(self, producer: Producer, count: int) -> None:
        """Send values of "victim" as one batch."""
        producer.send_many(self.topic, self.values(count))
        self.sent(count)

    def read(self, consumer: Consumer, count: int) -> None:
        """Read so many records and tell of each."""
        while count > 0:
            for records in consumer.poll(timeout_ms=50).values():
                for record in records:
                    seen = read_value(record.offset, record.value)
                    self.tell(f"seen {seen.offset} {seen.name} {seen.index}")
                    count -= 1

    def values(self, count: int, size: int = 0) -> list[bytes]:
        """The next values of "victim"."""
        return [make_value("victim", self._sent + each, size) for each in range(count)]

    def wait_for_go(self) -> None:
        """Wait until the stage lets it go on."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        self.tell("waiting for go")
        assert signal.sigtimedwait([signal.SIGUSR1], DEADLINE_S)

    def in_thread(self, function: Callable[[], object]) -> None:
        """Call it in another thread and wait for that."""
        thread = threading.Thread(target=function)
        thread.start()
        thread.join()

    def tell(self, line: str) -> None:
        """Say something that survives this process."""
        os.write(2, f"{line}\n".encode())

    def sent(self, count: int) -> None:
        """Tell that so many more were acknowledged."""
        self._sent += count
        self.tell(f"sent {self._sent}")


class Victim:
    """A forked process that runs `body` and may be killed or stopped by its own fault point.

    Attributes:
        point: Where it was killed or stopped, or None.
        sent: How many of its values were acknowledged.
        seen: What it told that it read.
    """

    def __init__(self, body: Callable[[], None]) -> None:
        self._line, theirs = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(theirs, 2)
            leave(body)
        os.close(theirs)
        self.point: str | None = None
        self.sent = 0
        self.seen: list[Seen] = []
        self.told = ""
        self._is_gone = self._went_on = False

    def wait(self, timeout_s: float = DEADLINE_S) -> str:
        """Wait until it is KILLED or STOPPED at its point, or has ENDED well; else fail."""
        deadline = time.monotonic() + timeout_s
        while (self.point is None or self._went_on) and self._read_line(max(0.0, deadline - time.monotonic())):
            pass
        status = reap(self.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return STOPPED
        self._is_gone = True
        while self._read_line(0):
            pass
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL and self.point:
            return KILLED
        assert status == 0, f"victim {self.pid}: status {status}, last at {self.point}\n{self.told}"
        return ENDED

    def stopped_or_told(self, word: str) -> bool:
        """Has it told a line that begins with `word`, or come to its point? Does not wait."""
        while self.point is None and self._read_line(0):
            pass
        return self.point is not None or f"\n{word}" in f"\n{self.told}"

    def go(self) -> None:
        """End its `wait_for_go`."""
        os.kill(self.pid, signal.SIGUSR1)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)
        self._went_on = True

    def close(self) -> None:
        """Kill it if it is still there."""
        if not self._is_gone:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._is_gone = True
        os.close(self._line)

    def _read_line(self, timeout_s: float) -> bool:
        """Take in what it told next; False at the end, or if nothing came in time."""
        if not select.select([self._line], [], [], timeout_s)[0]:
            assert timeout_s == 0 or self._is_gone, f"victim {self.pid} hangs, last at {self.point}\n{self.told}"
            return False
        text = os.read(self._line, 65536).decode()
        self.told += text
        lines = self.told.splitlines()
        points = [line.removeprefix("fault point ") for line in lines if line.startswith("fault point ")]
        self.point = points[-1] if points else None
        self.sent = max((int(line.split()[1]) for line in lines if line.startswith("sent ")), default=0)
        seen = [line.split() for line in lines if line.startswith("seen ")]
        self.seen = [Seen(int(offset), name, int(index)) for _, offset, name, index in seen]
        return bool(text)
