"""Everything that reads or appends, tried on a topic in whatever state it is; and the judgement over what comes out.

Owns: the one rule of fuzzing: an error of shmq.errors, or records that were sent.
Must never: know how the files were damaged.
Sits: over the package's public face; `child` calls it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable
from typing import Any

from specimen import FIRST_MS, ITEM_BYTES, SEGMENT_BYTES, Row, Specimen, Topic

from shmq import Consumer, ConsumerRecord, Producer, TopicPartition, _native
from shmq.errors import ShmqError

Step = Callable[[], object]


class Exercise:
    """One pass over all paths. `errors` counts the errors that came, by name; `delivered` the records.

    Not judged: where checksums were forged or are missing, nothing can tell a forged record from one that was sent.
    """

    def __init__(
        self, specimen: Specimen, topic: Topic, rng: random.Random, *, judged: bool, at_rest: bool = True
    ) -> None:
        self.specimen, self.topic, self.rng = specimen, topic, rng
        self.at_rest = at_rest  # else a view in place may lose its file under whoever looks at it
        self.place = TopicPartition(topic.name, 0)
        self.sent: dict[bytes | None, list[tuple[int | None, Row]]] = {}
        for offset, row in topic.rows.items():
            self.sent.setdefault(row[1], []).append((offset, row))
        self.judged = judged
        self.errors: dict[str, int] = {}
        self.delivered = 0

    def run(self) -> None:
        """Raises: what no path may raise; AssertionError for a record that nobody sent."""
        parts = [self._look, self._read, self._append, self._look, self._read]
        self.rng.shuffle(parts)
        for part in parts:
            part()

    def _try(self, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except ShmqError as error:
            assert str(error)
            name = type(error).__name__
            assert name != "InternalError", f"a fault of our own: {error}"
            self.errors[name] = self.errors.get(name, 0) + 1
            return None

    # -- the core's tools ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        process = self._try(lambda: _native.Process(str(self.specimen.directory), self.specimen.instance))
        if process is None:
            return
        self._try(process.slots)
        partition = self._try(
            lambda: _native.Partition(process, str(self.topic.directory), self.topic.name, 0, self.topic.topic_id)
        )
        if partition is not None:
            steps: list[Step] = [
                partition.offsets,
                partition.stats,
                partition.verify,
                partition.census,
                partition.clean,
                partition.prepare_spare,
                partition.apply_retention,
                lambda: partition.delete_records(self._some_offset() // 3),
                lambda: self._try_reader(partition),
                lambda: partition.hold(self._some_group(), self._some_hold()),
                lambda: partition.move_hold(self._some_group(), self._some_hold()),
                lambda: partition.release(self._some_group()),
                partition.holds,
            ]
            for step in self.rng.sample(steps, len(steps)):
                self._try(step)
        process.close()

    def _try_reader(self, partition: _native.Partition) -> None:
        reader = _native.Reader(partition, self.place, True)
        for step in (
            self.rng.choice((reader.register, lambda: reader.hold(self._some_group()))),
            reader.bounds,
            lambda: reader.seek(self._some_offset()),
            lambda: reader.find_time(FIRST_MS + self.rng.choice((0, 1000, 30000, 1 << 50))),
            lambda: reader.settled(self._some_offset()),
            lambda: reader.move_hold(self._some_hold()),
            reader.register,
        ):
            self._try(step)
        reader.close()

    # -- the consumer --------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        reset = self.rng.choice(("earliest", "latest", "none"))
        consumer = self._try(
            lambda: Consumer(
                bootstrap_servers=self.specimen.address,
                auto_offset_reset=reset,
                fetch_max_wait_ms=1,
                consumer_timeout_ms=1,
                max_poll_records=self.rng.choice((1, 7, 500)),
                allow_auto_create_topics=False,
            )
        )
        if consumer is None:
            return
        self._try(lambda: consumer.assign([self.place]))
        assigned = bool(self._try(consumer.assignment))
        steps: list[Step] = [
            lambda: consumer.beginning_offsets([self.place]),
            lambda: consumer.end_offsets([self.place]),
            lambda: consumer.offsets_for_times({self.place: FIRST_MS + self.rng.choice((0, 5000, 36000, 1 << 45))}),
        ]
        if assigned:
            steps += [
                lambda: self._poll_through(consumer),
                lambda: self._seek_and_poll(consumer),
                lambda: self._seek_and_poll(consumer),
                lambda: self._iterate(consumer),
                lambda: self._poll_items(consumer),
                lambda: self._poll_items(consumer),
                lambda: consumer.seek_to_beginning(),
                lambda: consumer.seek_to_end(self.place),
                lambda: consumer.position(self.place),
                lambda: consumer.highwater(self.place),
                lambda: consumer.poll(timeout_ms=3, max_records=2, update_offsets=False),
            ]
        for step in self.rng.sample(steps, len(steps)):
            self._try(step)
        consumer.close()

    def _poll_through(self, consumer: Consumer) -> None:
        """From the beginning on, until nothing comes or an error stays."""
        consumer.seek_to_beginning()
        barren = 0
        while barren < 3:
            records = self._try(lambda: consumer.poll(timeout_ms=0))
            barren = 0 if records else barren + 1
            for batch in (records or {}).values():
                self._judge(batch)

    def _seek_and_poll(self, consumer: Consumer) -> None:
        consumer.seek(self.place, self._some_offset())
        for batch in consumer.poll(timeout_ms=self.rng.choice((0, 0, 2)), max_records=self.rng.choice((1, 9))).values():
            self._judge(batch)

    def _iterate(self, consumer: Consumer) -> None:
        consumer.seek(self.place, self._some_offset())
        for count, record in enumerate(consumer):
            self._judge([record])
            if count == 20:
                return

    def _poll_items(self, consumer: Consumer) -> None:
        """From anywhere on, in place where that is safe, until nothing comes."""
        consumer.seek(self.place, self._some_offset())
        [reader] = consumer._readers
        reader.item_bytes = self.rng.choice((0, ITEM_BYTES))
        consumer._values_in_place = self.at_rest and self.rng.random() < 0.5
        most = self.rng.choice((1, 7, 500))
        while found := consumer._poll_items(self.rng.choice((0, 0, 1)), most, self.at_rest and self.rng.random() < 0.7):
            [items] = found.values()
            assert 0 < items.count <= most
            self._judge_items(items)

    def _judge_items(self, items: _native.Items) -> None:
        data, stamps = bytes(memoryview(items)), items.timestamps
        self.delivered += items.count
        for index in range(items.count if self.judged else 0):
            key = items.keys[index] if items.keys is not None else None
            value = data[items.stride * index :][: items.item_bytes]
            stamp = stamps if isinstance(stamps, int) else struct.unpack_from("<q", stamps, 8 * index)[0]
            known = self.sent.get(value, [])
            assert any(
                row[0] == key and row[1] == value and offset in (None, items.base_offset + index)
                for offset, row in known
            ), (
                f"offset {items.base_offset + index} was never sent so: {key!r} {value!r} {stamp}; sent: {repr(known)[:300]}"
            )

    def _some_offset(self) -> int:
        last = max(self.topic.rows, default=0)
        return self.rng.choice((0, 1, self.rng.randrange(last + 2), last, last + 1, 1 << 22, (1 << 63) - 1))

    def _some_hold(self) -> int:
        return min(self._some_offset(), (1 << 47) - 1)

    def _some_group(self) -> int:
        return self.rng.choice((1, 2, 1 << 10, (1 << 22) - 1))

    # -- the producer --------------------------------------------------------------------------------------------------

    def _append(self) -> None:
        """Past the end of a segment, so that the log rolls."""
        producer = self._try(
            lambda: Producer(bootstrap_servers=self.specimen.address, max_block_ms=2, allow_auto_create_topics=False)
        )
        if producer is None:
            return
        for number in range(9):
            value = b"fuzz:%d:%d" % (number, self.rng.getrandbits(64)) + bytes(self.rng.randrange(SEGMENT_BYTES // 3))
            row: Row = (None, value, [], FIRST_MS + number)
            self.sent.setdefault(value, []).append((None, row))
            self._try(
                lambda value=value, number=number: producer.send(self.topic.name, value, timestamp_ms=FIRST_MS + number)
            )
        self._try(lambda: producer.send_many(self.topic.name, [b"fuzz:a", b"fuzz:b"], timestamp_ms=FIRST_MS))
        for value in (b"fuzz:a", b"fuzz:b"):
            self.sent.setdefault(value, []).append((None, (None, value, [], FIRST_MS)))
        for _ in range(3):
            self._try(lambda: self._append_items(producer))
        self._try(producer.close)

    def _append_items(self, producer: Producer) -> None:
        [appender] = producer._topic(self.topic.name).appenders
        count = self.rng.choice((1, 3, 60))
        items = [b"fuzz:item:%d" % self.rng.getrandbits(64) for _ in range(count)]
        items = [each.ljust(ITEM_BYTES, b".") for each in items]
        keys = [self.rng.choice((None, b"k")) for _ in items] if self.rng.random() < 0.5 else None
        for index, each in enumerate(items):
            self.sent.setdefault(each, []).append((None, (keys[index] if keys else None, each, [], FIRST_MS)))
        if self.at_rest and self.rng.random() < 0.7:
            reservation = appender.reserve(count * ITEM_BYTES, count, 2)
            with memoryview(reservation) as room:
                room[:] = b"".join(items)
            if self.rng.random() < 0.3:
                appender.append_rows([(None, b"fuzz:a", None, FIRST_MS)], 2)
            reservation.publish(2, keys, FIRST_MS)
        else:
            appender.append_items(b"".join(items), count, 2, keys, FIRST_MS)

    # -- the judgement -------------------------------------------------------------------------------------------------

    def _judge(self, records: Iterable[ConsumerRecord]) -> None:
        before = -1
        for record in records:
            self.delivered += 1
            assert record.offset > before, f"offset {record.offset} after {before}"
            before = record.offset
            if self.judged:
                got: Row = (record.key, record.value, list(record.headers), record.timestamp)
                known = self.sent.get(record.value, [])
                parts = 3 if record.timestamp_type else 4  # an option's damaged word may ask for the log's own time
                assert any(row[:parts] == got[:parts] and offset in (None, record.offset) for offset, row in known), (
                    f"offset {record.offset} was never sent so: {repr(got)[:300]}; sent: {repr(known)[:300]}"
                )
