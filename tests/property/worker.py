"""Clients that do as they are told: in this process, or in another one over a pipe.

Owns: producers and consumers by name, and turning what they return into plain values.
Must never: judge; the state machine does.
Sits: under `test_log`; `python worker.py` is the other process.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

from shmq import Admin, Consumer, Producer, TopicPartition, _native
from shmq.errors import ShmqError

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

    def _producer(self, name: str) -> Producer:
        if name not in self.producers:
            self.producers[name] = Producer(bootstrap_servers=self.address, max_block_ms=0, max_request_size=1 << 30)
        return self.producers[name]

    def close_producer(self, name: str) -> None:
        if name in self.producers:
            self.producers.pop(name).close()

    def send(self, producer: str, topic: str, partition: int, row: Any) -> int:
        sent = self._producer(producer).send(topic, row.value, row.key, list(row.headers), partition, row.timestamp_ms)
        return sent.get().offset

    def send_many(self, producer: str, topic: str, partition: int, values: Any, keys: Any, stamp: int) -> Any:
        """[(base offset, count)]"""
        placed = self._producer(producer).send_many(topic, values, keys, partition=partition, timestamp_ms=stamp)
        return [(each.base_offset, each.count) for each in placed]

    # -- consumers -----------------------------------------------------------------------------------------------------

    def open(self, name: str, places: list[tuple[str, int]], **configs: Any) -> None:
        self.consumers[name] = Consumer(bootstrap_servers=self.address, **configs)
        self.consumers[name].assign(places)

    def close_consumer(self, name: str) -> None:
        self.consumers.pop(name).close()

    def poll(self, name: str, may_wait: bool, max_records: int | None, update_offsets: bool) -> Any:
        """{partition: [(offset, key, value, headers, timestamp)]}"""
        timeout_ms = DEADLINE_MS if may_wait else 0
        records = self.consumers[name].poll(timeout_ms, max_records, update_offsets)
        return {place.partition: [_plain(each) for each in batch] for place, batch in records.items()}

    def iterate(self, name: str, most: int) -> Any:
        """[(partition, record)]"""
        return [(each.partition, _plain(each)) for each in itertools.islice(self.consumers[name], most)]

    def seek(self, name: str, place: tuple[str, int], offset: int) -> None:
        self.consumers[name].seek(TopicPartition(*place), offset)

    def seek_to_beginning(self, name: str) -> None:
        self.consumers[name].seek_to_beginning()

    def seek_to_end(self, name: str) -> None:
        self.consumers[name].seek_to_end()

    def position(self, name: str, place: tuple[str, int]) -> int:
        return self.consumers[name].position(TopicPartition(*place))

    def pause(self, name: str, place: tuple[str, int], paused: bool) -> set[int]:
        consumer = self.consumers[name]
        (consumer.pause if paused else consumer.resume)(TopicPartition(*place))
        return {each.partition for each in consumer.paused()}

    def bounds(self, name: str, places: list[tuple[str, int]]) -> Any:
        consumer, places = self.consumers[name], [TopicPartition(*each) for each in places]
        begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        return [(begins[each], ends[each]) for each in places]

    def offset_for_time(self, name: str, place: tuple[str, int], timestamp_ms: int) -> Any:
        found = self.consumers[name].offsets_for_times({TopicPartition(*place): timestamp_ms})[TopicPartition(*place)]
        return None if found is None else (found.offset, found.timestamp)

    # -- the whole -----------------------------------------------------------------------------------------------------

    def alter(self, topic: str, options: dict[str, Any]) -> None:
        with Admin(bootstrap_servers=self.address) as admin:
            admin.alter_configs({"topic": {topic: options}})

    def verify(self, directory: str, topic: str, topic_id: int, partition: int) -> Any:
        """(finding, census)"""
        with Admin(bootstrap_servers=self.address) as admin:
            process = _native.Process(admin.broker.directory, admin.broker.instance)
            opened = _native.Partition(process, directory, topic, partition, topic_id)
            finding, census = opened.verify(), opened.census()
            process.close()
        return finding, census


def _plain(record: Any) -> tuple[Any, ...]:
    return record.offset, record.key, record.value, tuple(record.headers), record.timestamp


class RemoteWorker:
    """A worker in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((name, args, kwargs), self._process.stdin)
        self._process.stdin.flush()
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
        self._process.stdin.close()
        assert self._process.wait(timeout=DEADLINE_MS / 1000) == 0


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
    sys.path.insert(0, str(Path(__file__).parent))
    serve(sys.stdin.buffer, sys.stdout.buffer)
