"""A broker of its own for each test that asks for one, real child processes, and a check that nothing is left behind.

`--import-mode=importlib` means that tests cannot import from here: everything is a fixture.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from shmq import Admin, Consumer, Producer, ShareConsumer, TopicPartition
from shmq.store import collect, collect_instance, open_broker
from shmq.store.coordinator import coordinator_of

DEADLINE_S = 20.0
SEGMENT_BYTES = 65536


def wait_until(condition: Callable[[], Any], timeout_s: float = DEADLINE_S) -> Any:
    """Call `condition` again and again until it is true, and return what it gave; fail after a deadline."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.001)
    return value


class Child:
    """A forked process that runs one function; what it returns or raises comes back through `result`."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._read, write = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run_and_leave(function, write)
        os.close(write)
        self._reaped = False

    def result(self, timeout_s: float = DEADLINE_S) -> Any:
        """Wait for the end; return what the function returned, or raise what it raised."""
        data = b""
        deadline = time.monotonic() + timeout_s
        while True:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.kill()
                raise AssertionError(f"child {self.pid} did not end within {timeout_s} s")
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                break
            data += chunk
        self.reap()
        assert data, f"child {self.pid} died without a word"
        value, error = pickle.loads(data)
        if error is not None:
            raise AssertionError(f"in the child:\n{error}")
        return value

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        if not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.reap()

    def reap(self) -> None:
        """Wait until it is gone; a second time does nothing."""
        if not self._reaped:
            self._reaped = True
            os.waitpid(self.pid, 0)
            os.close(self._read)


def _run_and_leave(function: Callable[[], Any], write: int) -> NoReturn:
    status = 0
    try:
        answer = pickle.dumps((function(), None))
    except BaseException:
        status = 1
        answer = pickle.dumps((None, traceback.format_exc()))
    with os.fdopen(write, "wb") as pipe:
        pipe.write(answer)
    os._exit(status)


class BrokerUnderTest:
    """A broker in a directory of its own, and clients of it, which are closed with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"shm://{directory}"
        self.admin = Admin(bootstrap_servers=self.address)
        self.instance: str = self.admin.broker.identity.instance
        self.has_deaths = False
        self._clients: list[Any] = []
        self._children: list[Child] = []

    def create(self, topic: str = "t", partitions: int = 1, **configs: Any) -> TopicPartition:
        """Create a topic and return its partition 0."""
        self.admin.create_topics({topic: {"num_partitions": partitions, "configs": configs}})
        return TopicPartition(topic, 0)

    def create_queue(self, topic: str = "t", segments: int = 2) -> TopicPartition:
        """Create a topic with retention="consumed" whose ring holds so many small segments."""
        return self.create(
            topic, retention="consumed", segment_bytes=SEGMENT_BYTES, retention_bytes=segments * SEGMENT_BYTES
        )

    def producer(self, **configs: Any) -> Producer:
        """A producer of this broker."""
        return self._kept(Producer(bootstrap_servers=self.address, **configs))

    def consumer(self, *topics: str, **configs: Any) -> Consumer:
        """A consumer of this broker; of all that is there unless told otherwise."""
        return self._kept(
            Consumer(*topics, **{"auto_offset_reset": "earliest", **configs}, bootstrap_servers=self.address)
        )

    def share_consumer(self, *topics: str, **configs: Any) -> ShareConsumer:
        """A member of share group "g" of this broker, unless another is named."""
        return self._kept(ShareConsumer(*topics, **{"group_id": "g", **configs}, bootstrap_servers=self.address))

    def read(self, topic: str = "t", **configs: Any) -> list[Any]:
        """All records of a topic, partition by partition."""
        with Consumer(topic, bootstrap_servers=self.address, auto_offset_reset="earliest", **configs) as consumer:
            batches: dict[TopicPartition, list[Any]] = {}
            ends = consumer.end_offsets(consumer.assignment())
            while any(consumer.position(place) < end for place, end in ends.items()):
                for place, batch in consumer.poll(timeout_ms=1000).items():
                    batches.setdefault(place, []).extend(batch)
        return [record for place in sorted(batches) for record in batches[place]]

    def values(self, topic: str = "t") -> list[Any]:
        """The values of all records of a topic."""
        return [record.value for record in self.read(topic)]

    def fork(self, function: Callable[[], Any]) -> Child:
        """Run a function in a forked child."""
        self.has_deaths = True  # os._exit() closes nothing
        child = Child(function)
        self._children.append(child)
        return child

    def kill(self, child: Child) -> None:
        """Kill a child, and wait until it is gone."""
        child.kill()

    def run(self, code: str, *, timeout_s: float = DEADLINE_S) -> str:
        """Run Python code in a fresh interpreter, with `address` defined, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-c", f"address = {self.address!r}\n{code}"],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, code: str) -> subprocess.Popen[str]:
        """Start Python code in a fresh interpreter, with `address` defined; the caller waits for it."""
        return subprocess.Popen(
            [sys.executable, "-u", "-c", f"address = {self.address!r}\n{code}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def doorbells(self) -> list[str]:
        """Semaphores of this broker."""
        return [each for each in os.listdir("/dev/shm") if each.startswith(f"sem.shmq-{self.instance}-")]

    def coordinator(self) -> int:
        """Process id of the coordinator, 0 if there is none."""
        return coordinator_of(str(self.directory))

    def kill_coordinator(self, number: int = signal.SIGKILL) -> int:
        """End the coordinator, if there is one, and wait until it is gone; its process id."""
        pid = self.coordinator()
        if pid:
            os.kill(pid, number)
            wait_until(lambda: self.coordinator() != pid)
        return pid

    def close(self) -> None:
        """Close everything and remove the broker; fail if a client that was closed left something."""
        for child in self._children:
            child.kill()
        for client in reversed(self._clients):
            client.close()
        self.admin.close()
        self.kill_coordinator(signal.SIGTERM)
        if not self.has_deaths:
            assert self.doorbells() == [], "a client left its doorbell"
        broker = open_broker(str(self.directory))
        collect(broker)
        broker.close()
        wait_until(self._remove)

    def _remove(self) -> bool:
        """Remove the directory; not at once if a coordinator that a client has started is only now coming up in it."""
        self.kill_coordinator(signal.SIGTERM)
        with contextlib.suppress(OSError):
            shutil.rmtree(self.directory)
        collect_instance(self.instance)
        return not self.directory.exists() and not Path(f"/dev/shm/shmq-{self.instance}").exists()

    def _kept(self, client: Any) -> Any:
        self._clients.append(client)
        return client


def _instances(directory: Path) -> set[str]:
    """The brokers that lie under a directory."""
    found = set()
    for path in directory.rglob("broker.json"):
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError, RecursionError):
            found.add(json.loads(path.read_text())["instance"])
    return found


def _left_over(directory: Path, instances: set[str]) -> list[str]:
    """What this process still has of the brokers under a directory."""
    marks = [f"{directory}/", *(f"/dev/shm/{kind}shmq-{each}" for each in instances for kind in ("", "sem."))]
    maps = Path("/proc/self/maps").read_text().splitlines()
    found = [line for line in maps if any(mark in line for mark in marks)]
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{number}")
            found += [f"fd {number}: {target}"] if any(mark in f"{target}/" for mark in marks) else []
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: no child; and of the brokers in its tmp_path no mapping, no descriptor, nothing in /dev/shm."""
    children = set(psutil.Process().children())
    directory: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    instances: set[str] = set()
    request.node.shmq_instances = instances
    yield
    new_children = set(psutil.Process().children()) - children
    for child in new_children:
        child.kill()
        child.wait()
    assert new_children == set(), "a child process is left"
    if directory is None:
        return
    gc.collect()
    assert _left_over(directory, instances | _instances(directory)) == []
    assert [each for each in os.listdir("/dev/shm") if any(f"shmq-{number}" in each for number in instances)] == []


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerUnderTest]:
    """A fresh broker, removed afterwards."""
    broker = BrokerUnderTest(tmp_path / "broker")
    request.node.shmq_instances.add(broker.instance)
    try:
        yield broker
    finally:
        broker.close()


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., Any]:
    """`wait_until(condition, timeout_s=20)`: poll a condition with a deadline."""
    return wait_until
