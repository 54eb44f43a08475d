"""Everything that reads or appends, tried on a topic in whatever state it is; and the judgement over what comes out.

Owns: the one rule of fuzzing: an error of shmq.errors, or records that were sent.
Must never: know how the files were damaged.
Sits: over the package's public face; `child` calls it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from specimen import FIRST_MS, SEGMENT_BYTES, Row, Specimen, Topic

from shmq import Consumer, ConsumerRecord, Producer, TopicPartition, _native
from shmq.errors import ShmqError

Step = Callable[[], object]


class Exercise:
    """One pass over all paths. `errors` counts the errors that came, by name; `delivered` the records.

    Not judged: where checksums were forged or are missing, nothing can tell a forged record from one that was sent.
    """

    def __init__(self, specimen: Specimen, topic: Topic, rng: random.Random, *, judged: bool) -> None:
        self.specimen, self.topic, self.rng = specimen, topic, rng
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
        self._try(producer.close)

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
