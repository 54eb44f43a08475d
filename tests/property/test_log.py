"""The log against a list: whatever producers and consumers in two processes do, in any order.

After every step the whole log is read and compared, and each consumer must stand where the model says.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from consumer_model import ConsumerModel, Seen
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from log_model import Options, Partition, Row
from worker import RemoteWorker, Worker

from shmq import _native
from shmq.store import Topics, verify
from shmq.types import ConfigResource

SEGMENT_BYTES = 65536
PARTITIONS = 2
PRODUCERS = ["here 1", "here 2", "there"]
CONSUMERS = ["here", "there"]
FULL, TOO_LARGE = "BufferFullError", "MessageSizeTooLargeError"

partitions = st.integers(0, PARTITIONS - 1)
producers = st.sampled_from(PRODUCERS)
consumers = st.sampled_from(CONSUMERS)
some_partitions = st.sampled_from([[0, 1], [0], [1, 0], [1], []])
stamps = st.one_of(st.integers(0, 20), st.just(1_700_000_000_000))  # equal and falling ones among them

small = st.one_of(st.none(), st.just(b""), st.binary(max_size=70))
sizes = st.sampled_from([100, 1000, 5000, 20_000, 40_000, 49_000, 49_152, 49_153, 60_000])
values = st.one_of(small, st.builds(lambda size, byte: bytes([byte]) * size, sizes, st.integers(0, 255)))
headers = st.lists(st.tuples(st.text(max_size=5), st.one_of(st.none(), st.binary(max_size=9))), max_size=3)


@dataclass(frozen=True)
class Opening:
    """With what a consumer begins."""

    numbers: list[int]
    reset: str
    most: int
    has_byte_limit: bool


resets = st.sampled_from(["earliest", "earliest", "latest", "none"])
openings = st.builds(Opening, some_partitions, resets, st.sampled_from([500, 3, 1]), st.booleans())


def rows_of(a_value: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    """Records, all of them with a key or a value."""
    return st.builds(Row, small, a_value, headers.map(tuple), stamps).filter(
        lambda row: row.key is not None or row.value is not None
    )


class LogMachine(RuleBasedStateMachine):
    """One topic of one broker. Steps name their client; its name says in which process it lives."""

    def __init__(self, broker: Any, there: RemoteWorker, counter: Any) -> None:
        super().__init__()
        self.broker, self.topic = broker, f"t{next(counter)}"
        self.workers: dict[str, Any] = {"here": Worker(), "there": there}
        self.log: list[Partition] = []
        self.consumers: dict[str, ConsumerModel] = {}
        self.steps = 0
        for worker in self.workers.values():
            worker.call("begin", broker.address)

    def ask(self, client: str, call: str, *args: Any, **kwargs: Any) -> Any:
        """Let a client do something in its process."""
        return self.workers[client.split()[0]].call(call, client, *args, **kwargs)

    def places(self, numbers: Any = range(PARTITIONS)) -> list[tuple[str, int]]:
        return [(self.topic, number) for number in numbers]

    @initialize(
        storage=st.sampled_from(["disk", "memory"]),
        retention=st.sampled_from(["delete", "consumed"]),
        segments=st.integers(2, 4),
        ring_slots=st.sampled_from([4, 5, 1024]),
        drawn=st.tuples(openings, openings),
    )
    def create(self, storage: str, retention: str, segments: int, ring_slots: int, drawn: tuple[Opening, ...]) -> None:
        """The ring is so small, mostly, that the log goes round it."""
        options = Options(SEGMENT_BYTES, segments * SEGMENT_BYTES, retention == "consumed")
        self.broker.create(
            self.topic,
            PARTITIONS,
            storage=storage,
            retention=retention,
            segment_bytes=options.segment_bytes,
            retention_bytes=options.retention_bytes,
        )
        meta = Topics(self.broker.admin.broker).find(self.topic)
        for number in range(PARTITIONS):
            control = Path(meta.partition_directory(number)) / "control"
            control.unlink()
            _native.create_control(
                str(control),
                topic_id=meta.topic_id,
                partition=number,
                ring_slots=ring_slots,
                **meta.config.native(),
            )
        self.log = [Partition(options, ring_slots) for _ in range(PARTITIONS)]
        for name, opening in zip(CONSUMERS, drawn, strict=True):
            self.reopen(name, opening)

    # -- appending -----------------------------------------------------------------------------------------------------

    def held(self, number: int) -> list[int]:
        places = [each.places[number] for each in self.consumers.values() if number in each.places]
        return [place.segment or 0 for place in places]

    @rule(producer=producers, number=partitions, row=rows_of(values))
    def send(self, producer: str, number: int, row: Row) -> None:
        self._send(producer, number, row)

    def _send(self, producer: str, number: int, row: Row) -> None:
        log = self.log[number]
        answer = self.ask(producer, "send", self.topic, number, row)
        if row.record_bytes > log.options.max_message_bytes:
            assert answer == TOO_LARGE
        else:
            offset = log.end
            assert answer == (offset if log.append([row], self.held(number)) else FULL)

    @rule(producer=producers, number=partitions, size=st.sampled_from([9000, 20_000, 49_000]), count=st.integers(1, 9))
    def fill(self, producer: str, number: int, size: int, count: int) -> None:
        """So much that segments go."""
        for each in range(count):
            self._send(producer, number, Row(None, b"%d" % each * size, (), each))

    @rule(producer=producers, number=partitions, rows=st.lists(rows_of(small), min_size=1, max_size=8))
    def send_lingering(self, producer: str, number: int, rows: list[Row]) -> None:
        log = self.log[number]
        first = log.end
        answer = self.ask(producer, "send_lingering", self.topic, number, rows)
        appended = log.append(rows, self.held(number))
        assert answer == (list(range(first, first + len(rows))) if appended else FULL)

    @rule(
        producer=producers,
        number=partitions,
        drawn=st.lists(rows_of(values), max_size=8),
        has_keys=st.booleans(),
        stamp=stamps,
    )
    def send_many(self, producer: str, number: int, drawn: list[Row], has_keys: bool, stamp: int) -> None:
        log = self.log[number]
        rows = [Row(each.key, each.value, (), stamp) for each in drawn]
        if not has_keys:
            rows = [Row(None, each.value, (), stamp) for each in rows if each.value is not None]
        keys = [each.key for each in rows] if has_keys else None
        answer = self.ask(producer, "send_many", self.topic, number, [each.value for each in rows], keys, stamp)
        if any(row.record_bytes > log.options.max_message_bytes for row in rows):
            assert answer == TOO_LARGE
            return
        expected = []
        # A producer that knows the newest segment can use one that is larger than a fresh one would be.
        is_one = answer == [(log.end, len(rows))] and log.fits_newest(rows)
        for piece in [rows] if is_one else log.pieces(rows):
            expected.append((log.end, len(piece)))
            if not log.append(piece, self.held(number)):
                assert answer == FULL
                return
        assert answer == expected

    @rule(producer=producers)
    def close_producer(self, producer: str) -> None:
        self.ask(producer, "close_producer")

    @rule(segment_bytes=st.sampled_from([SEGMENT_BYTES, 2 * SEGMENT_BYTES]), segments=st.integers(2, 5))
    def alter(self, segment_bytes: int, segments: int) -> None:
        """What producers that are at work see with their next roll."""
        options = self.log[0].options
        if options.consumed:  # how much of a split batch a full ring takes would depend on what the producer has mapped
            segment_bytes = options.segment_bytes
        options.segment_bytes, options.retention_bytes = segment_bytes, segments * segment_bytes
        changes = {"segment_bytes": segment_bytes, "retention_bytes": options.retention_bytes}
        self.broker.admin.alter_configs([ConfigResource("topic", self.topic, changes)])

    # -- consuming -----------------------------------------------------------------------------------------------------

    @rule(name=consumers, opening=openings)
    def reopen(self, name: str, opening: Opening) -> None:
        if name in self.consumers:
            self.ask(name, "close_consumer")
        limit = {"max_partition_fetch_bytes": 3000} if opening.has_byte_limit else {}
        places = self.places(opening.numbers)
        self.ask(name, "open", places, auto_offset_reset=opening.reset, max_poll_records=opening.most, **limit)
        self.consumers[name] = ConsumerModel(opening.reset, opening.most, opening.has_byte_limit)
        self.consumers[name].assign(self.log, opening.numbers)

    @rule(name=consumers, numbers=some_partitions)
    def assign(self, name: str, numbers: list[int]) -> None:
        self.ask(name, "assign", self.places(numbers))
        self.consumers[name].assign(self.log, numbers)

    def seen(self, name: str) -> dict[int, Seen]:
        return {number: Seen(*each) for number, each in self.ask(name, "places").items()}

    @rule(name=consumers, may_wait=st.booleans(), max_records=st.one_of(st.none(), st.integers(1, 20)))
    def poll(self, name: str, may_wait: bool, max_records: int | None) -> None:
        self._poll(name, may_wait, max_records)

    @rule(name=consumers, first=st.integers(1, 9), again=st.integers(1, 9))
    def peek(self, name: str, first: int, again: int) -> None:
        self._poll(name, False, first, keeps=True)
        self._poll(name, False, again, keeps=True)

    @rule(name=consumers, may_wait=st.booleans())
    def read_out(self, name: str, may_wait: bool) -> None:
        while not isinstance(got := self._poll(name, may_wait), str) and got:
            pass

    def _poll(self, name: str, may_wait: bool, max_records: int | None = None, keeps: bool = False) -> Any:
        consumer = self.consumers[name]
        waits = may_wait and consumer.sure(self.log) > 0
        got = self.ask(name, "poll", waits, max_records, not keeps)
        most = max_records or consumer.most
        consumer.judge_poll(self.log, got, self.seen(name), most, waited=waits, keeps=keeps)
        return got

    @rule(name=consumers, most=st.integers(1, 12))
    def iterate(self, name: str, most: int) -> None:
        consumer = self.consumers[name]
        count = min(most, consumer.sure(self.log))
        got = self.ask(name, "iterate", count)
        assert sum(map(len, got.values())) == count
        consumer.judge(self.log, got, self.seen(name), read_ahead=consumer.most)

    @rule(name=consumers, number=partitions, data=st.data())
    def seek(self, name: str, number: int, data: st.DataObject) -> None:
        if number in self.consumers[name].places:
            edges = [each.base_offset for each in self.log[number].live] or [0]
            anywhere = st.integers(0, self.log[number].end + 2)
            offset = data.draw(st.one_of(st.sampled_from(edges), anywhere), label="offset")
            self.ask(name, "seek", (self.topic, number), offset)
            self.consumers[name].seek(self.log, number, offset)

    @rule(name=consumers, number=partitions, edge=st.sampled_from(["beginning", "end"]), alone=st.booleans())
    def seek_to_edge(self, name: str, number: int, edge: str, alone: bool) -> None:
        numbers = [each for each in self.consumers[name].places if each == number or not alone]
        if numbers:
            self.ask(name, f"seek_to_{edge}", *(self.places(numbers) if alone else ()))
            for each in numbers:
                offset = self.log[each].begin if edge == "beginning" else self.log[each].end
                self.consumers[name].seek(self.log, each, offset)

    @rule(name=consumers, number=partitions, paused=st.booleans())
    def pause(self, name: str, number: int, paused: bool) -> None:
        consumer = self.consumers[name]
        if number in consumer.places:
            answer = self.ask(name, "pause", (self.topic, number), paused)
            consumer.pause(number, paused)
            assert answer == consumer.places.keys() - consumer.active.keys()

    @rule(name=consumers, number=partitions, stamp=stamps)
    def find_time(self, name: str, number: int, stamp: int) -> None:
        found = self.ask(name, "offset_for_time", (self.topic, number), stamp)
        offset = self.log[number].first_since(stamp)
        assert found == (None if offset is None else (offset, self.log[number].rows[offset].timestamp_ms))

    @rule()
    def verify(self) -> None:
        """Every rule of the format holds, and the files have as many segments and batches as they must."""
        for log, finding in zip(self.log, verify(self.broker.admin.broker, [self.topic]), strict=True):
            assert finding.problem == ""
            assert finding.census["segments"] == len(log.live)
            assert finding.census["batches"] == sum(each.batches for each in log.live)
            assert finding.census["records"] == log.end - log.begin
            assert finding.census["claimed"] == finding.census["aborted"] == 0

    # -- after every step ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.log)
    @invariant()
    def the_log_is_the_list(self) -> None:
        self.steps += 1
        auditor = f"{['here', 'there'][self.steps % 2]} auditor"
        got = self.ask(auditor, "everything", self.places())
        for number, log in enumerate(self.log):
            assert got.get(number, []) == log.plain(range(log.begin, log.end))
        assert self.ask(auditor, "bounds", self.places()) == [(log.begin, log.end) for log in self.log]

    @invariant()
    def consumers_stand_where_they_should(self) -> None:
        for name, consumer in self.consumers.items():
            assert self.seen(name) == {number: place.seen for number, place in consumer.places.items()}

    def teardown(self) -> None:
        for worker in self.workers.values():
            worker.call("end")
        if self.log:
            self.broker.admin.delete_topics([self.topic])


@pytest.fixture
def there() -> Iterator[RemoteWorker]:
    """The other process."""
    worker = RemoteWorker()
    yield worker
    worker.leave()


def test_the_log_is_what_a_list_would_be(broker, there, caplog):
    caplog.set_level(logging.CRITICAL, "shmq")  # what it says of each full ring and each position that is gone
    counter = itertools.count()

    run_state_machine_as_test(lambda: LogMachine(broker, there, counter), settings=settings())
