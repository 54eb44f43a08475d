"""Clients that do as they are told: in this process, or in another one over a pipe.

Owns: producers and consumers by name, and turning what they return into plain values.
Must never: judge; the state machine does.
Sits: under `test_log`; `python worker.py` is the other process.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

from shmq import Consumer, Producer, TopicPartition
from shmq.errors import NoOffsetForPartitionError, ShmqError

DEADLINE_MS = 20_000


class Worker:
    """Everything that a test asks for, in this process."""

    def __init__(self) -> None:
        self.address = ""
        self.producers: dict[str, Producer] = {}
        self.consumers: dict[str, Consumer] = {}

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """What `name` returns; the error's name instead if it raises one of ours."""
        try:
            return getattr(self, name)(*args, **kwargs)
        except ShmqError as error:
            return type(error).__name__

    def begin(self, address: str) -> None:
        self.address = address

    def end(self) -> None:
        """Close everything."""
        for client in (*self.producers.values(), *self.consumers.values()):
            client.close()
        self.producers.clear()
        self.consumers.clear()

    # -- producers -----------------------------------------------------------------------------------------------------

    def _producer(self, name: str, linger_ms: int = 0) -> Producer:
        name = f"{name} that lingers" if linger_ms else name
        if name not in self.producers:
            self.producers[name] = Producer(
                bootstrap_servers=self.address,
                max_block_ms=0,
                max_request_size=1 << 30,
                linger_ms=linger_ms,
                batch_size=1 << 30,
            )
        return self.producers[name]

    def close_producer(self, name: str) -> None:
        for each in (name, f"{name} that lingers"):
            if each in self.producers:
                self.producers.pop(each).close()

    def send(self, producer: str, topic: str, partition: int, row: Any) -> int:
        """Its offset."""
        sent = self._producer(producer).send(topic, row.value, row.key, list(row.headers), partition, row.timestamp_ms)
        return sent.get(0).offset

    def send_lingering(self, producer: str, topic: str, partition: int, rows: list[Any]) -> list[int]:
        """Their offsets, as one batch."""
        lingering = self._producer(producer, linger_ms=60_000)
        futures = [
            lingering.send(topic, row.value, row.key, list(row.headers), partition, row.timestamp_ms) for row in rows
        ]
        lingering.flush()
        return [future.get(0).offset for future in futures]

    def send_many(self, producer: str, topic: str, partition: int, values: Any, keys: Any, stamp: int) -> Any:
        """[(base offset, count)]"""
        placed = self._producer(producer).send_many(topic, values, keys, partition=partition, timestamp_ms=stamp)
        return [(each.base_offset, each.count) for each in placed]

    # -- consumers -----------------------------------------------------------------------------------------------------

    def open(self, name: str, places: list[tuple[str, int]], **configs: Any) -> None:
        self.consumers[name] = Consumer(bootstrap_servers=self.address, **configs)
        self.consumers[name].assign(places)

    def assign(self, name: str, places: list[tuple[str, int]]) -> None:
        self.consumers[name].assign(places)

    def close_consumer(self, name: str) -> None:
        self.consumers.pop(name).close()

    def poll(self, name: str, may_wait: bool, max_records: int | None = None, update_offsets: bool = True) -> Any:
        """{partition: [(offset, key, value, headers, timestamp)]}"""
        timeout_ms = DEADLINE_MS if may_wait else 0
        records = self.consumers[name].poll(timeout_ms, max_records, update_offsets)
        return {place.partition: [_plain(each) for each in batch] for place, batch in records.items()}

    def iterate(self, name: str, most: int) -> Any:
        """As `poll`."""
        got: dict[int, list[Any]] = {}
        for record in itertools.islice(self.consumers[name], most):
            got.setdefault(record.partition, []).append(_plain(record))
        return got

    def everything(self, name: str, places: list[tuple[str, int]]) -> Any:
        """What the log has, read by a consumer of its own from the beginning to the end. As `poll`."""
        if name not in self.consumers:
            self.open(name, [], auto_offset_reset="earliest")
        consumer = self.consumers[name]
        consumer.assign(places)
        got: dict[int, list[Any]] = {}
        while batch := self.poll(name, may_wait=False):
            for partition, records in batch.items():
                got.setdefault(partition, []).extend(records)
        consumer.unsubscribe()
        return got

    def seek(self, name: str, place: tuple[str, int], offset: int) -> None:
        self.consumers[name].seek(TopicPartition(*place), offset)

    def seek_to_beginning(self, name: str, *places: tuple[str, int]) -> None:
        self.consumers[name].seek_to_beginning(*itertools.starmap(TopicPartition, places))

    def seek_to_end(self, name: str, *places: tuple[str, int]) -> None:
        self.consumers[name].seek_to_end(*itertools.starmap(TopicPartition, places))

    def places(self, name: str) -> dict[int, tuple[int | None, int, bool]]:
        """{partition: (position, how far was read, is the position still to be found)}"""
        consumer = self.consumers[name]
        found = {}
        for reader in consumer._readers:
            try:
                position = consumer.position(reader.key)
            except NoOffsetForPartitionError:
                position = None
            found[reader.key.partition] = (position, reader.position, reader.unset)
        return found

    def pause(self, name: str, place: tuple[str, int], paused: bool) -> set[int]:
        """Those that are paused then."""
        consumer = self.consumers[name]
        (consumer.pause if paused else consumer.resume)(TopicPartition(*place))
        return {each.partition for each in consumer.paused()}

    def bounds(self, name: str, places: list[tuple[str, int]]) -> list[tuple[int, int]]:
        consumer, asked = self.consumers[name], list(itertools.starmap(TopicPartition, places))
        begins, ends = consumer.beginning_offsets(asked), consumer.end_offsets(asked)
        return [(begins[each], ends[each]) for each in asked]

    def offset_for_time(self, name: str, place: tuple[str, int], timestamp_ms: int) -> Any:
        """(offset, timestamp), or None"""
        found = self.consumers[name].offsets_for_times({TopicPartition(*place): timestamp_ms})[TopicPartition(*place)]
        return None if found is None else (found.offset, found.timestamp)


def _plain(record: Any) -> tuple[Any, ...]:
    return record.offset, record.key, record.value, tuple(record.headers), record.timestamp


class RemoteWorker:
    """A worker in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """As `Worker.call`; fails if no answer comes in time, or if what is raised is no error of ours."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((name, args, kwargs), self._process.stdin)
        self._process.stdin.flush()
        assert select.select([self._process.stdout], [], [], 3 * DEADLINE_MS / 1000)[0], f"no answer to {name}{args}"
        try:
            answer, error = pickle.load(self._process.stdout)
        except EOFError:
            raise AssertionError(f"the worker died of {self._process.wait()} in {name}{args}") from None
        if error is not None:
            raise AssertionError(f"in a worker, {name}{args}: {error}")
        return answer

    def leave(self) -> None:
        """End the process, which closes its clients first."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            assert self._process.wait(timeout=DEADLINE_MS / 1000) == 0
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


def serve(commands: BinaryIO, answers: BinaryIO) -> None:
    worker = Worker()
    while True:
        try:
            name, args, kwargs = pickle.load(commands)
        except EOFError:
            break
        try:
            answer = (worker.call(name, *args, **kwargs), None)
        except BaseException as error:
            answer = (None, repr(error))
        pickle.dump(answer, answers)
        answers.flush()
    worker.end()


if __name__ == "__main__":
    logging.disable()
    serve(sys.stdin.buffer, sys.stdout.buffer)
