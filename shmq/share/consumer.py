"""ShareConsumer: reads records as from a queue: each goes to one member of its group, and is settled on its own.

Owns: options, polling and iterating, deserializers, and closing.
Must never: be used by two threads at once (only `wakeup` may come from another), or cross a fork.
Sits: over settling. Source: KafkaShareConsumer of Kafka's Java client (KIP-932).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from shmq import _native
from shmq.config import ShareConsumerConfig, checked_timeout_ms
from shmq.connection import Connection
from shmq.errors import IllegalStateError, OffsetOutOfRangeError, ShmqError
from shmq.positions import alone
from shmq.serde import Deserialize, bind_deserializer, close_serdes
from shmq.share.dead_letters import DeadLetters
from shmq.share.held import Held
from shmq.share.settling import Settling
from shmq.types import TopicPartition

Batches = dict[TopicPartition, list[_native.ConsumerRecord]]

_MOST_BYTES = 50 << 20
"""About how much one poll takes at most, as Kafka's fetch.max.bytes; a first record is taken whatever its size."""
_numbers = itertools.count(1)


class ShareConsumer(Settling):
    """Reads topics together with the other members of its share group, record by record.

    Args:
        *topics: Topics to `subscribe` to; none to subscribe later.
        **configs: See the options table in the README; `group_id` is needed.

    Raises:
        KafkaConfigurationError: an unknown option, or a value that cannot be.
        InconsistentGroupProtocolError: the group's name is a consumer group's.
        UnknownTopicOrPartitionError: a topic does not exist and may not be created.
        NotABrokerError, StorageError, TooManyProcessesError: see `Connection`.

    A record that was polled is with this consumer until it is settled, `acquisition_lock_duration_ms` are over, or this
    process dies. Then it is delivered again, here or elsewhere, with a `delivery_count` that is larger by one.

    Iterating polls one record at a time; in "implicit" mode each is accepted when the next one is asked for. It ends
    when none came for `consumer_timeout_ms`.
    """

    def __init__(self, *topics: str, **configs: Any) -> None:
        self.config = ShareConsumerConfig.parse(configs)
        config = self.config
        self._client_id = config.client_id or f"shmq-share-consumer-{next(_numbers)}"
        self._held, self._busy, self._topic_ids, self._answers = {}, {}, {}, []
        self._errors: list[Exception] = []
        self._read_key = bind_deserializer(config.key_deserializer, "key_deserializer")
        self._read_value = bind_deserializer(config.value_deserializer, "value_deserializer")
        super().__init__(
            max_poll_records=config.max_poll_records,
            fetch_min_bytes=1,
            fetch_max_wait_ms=0,
            fetch_max_bytes=_MOST_BYTES,
            max_partition_fetch_bytes=_MOST_BYTES,
            spin_us=int(config.spin_us),
            iteration_timeout_ms=config.consumer_timeout_ms,
            key_deserializer=None,  # dead letters need the bytes: see _deserialized()
            value_deserializer=None,
        )
        lock_ms = config.acquisition_lock_duration_ms
        self._lock_ms = 0 if math.isinf(lock_ms) else int(lock_ms)
        self._alone_again = True  # it may be what killed its worker: it shall take no others along
        self._connection = Connection(
            config.bootstrap_servers, timeout_ms=config.request_timeout_ms, auto_create=config.allow_auto_create_topics
        )
        self._process = self._connection.process
        try:
            if config.dead_letter_topic is not None:
                self._dead_letters = DeadLetters(config.dead_letter_topic, config, self._connection)
            if topics:
                self.subscribe(topics)
        except BaseException:
            self._let_go()
            raise

    # -- records ------------------------------------------------------------------------------------------------------

    def poll(self, timeout_ms: float = 0, max_records: int | None = None) -> Batches:  # type: ignore[override]
        """Return records that are with this consumer from now on, and carry out what was acknowledged before.

        In "implicit" mode all that the last `poll` returned is accepted. Records that were delivered too often are
        given up here, and not returned.

        Args:
            timeout_ms: Longest wait for a first record, in milliseconds; 0 does not wait.
            max_records: At most this many over all partitions together; default `max_poll_records`.

        Returns:
            {TopicPartition: [ConsumerRecord, ...]}; a partition without news is absent, so the dict is empty when time
            ran out. Within a list `offset` rises. `delivery_count` of a record is 1, or more if it came before. Then
            it comes alone: if it kills its worker, the other records of the same poll are not to suffer for it.

        Raises:
            IllegalStateError: in "explicit" mode, a record of the last `poll` was not acknowledged.
            WakeupError, ClosedError, ConcurrentUseError, ForkedError: as their names say.
            UnknownTopicOrPartitionError: a topic was deleted; said once, the others are read on.
            BufferFullError, StorageFullError, ...: a record could not be sent to the dead letters; it is delivered
                again.
            CorruptSegmentError: the next batch of a partition is damaged; see `shmq verify`, and
                `Admin.alter_share_group_offsets` for going on behind it.
            What a deserializer raises: its record was released, or given up if that was its last delivery.
            Good records come first: such an error is raised by the next `poll`.

        Source: KafkaShareConsumer.poll of Kafka's Java client.
        """
        began = time.monotonic()
        left: float = timeout_ms
        while found := super().poll(left, max_records):
            good = self._alone(self._hand_out, found)
            if good:
                return good
            left = max(0.0, timeout_ms - (time.monotonic() - began) * 1000)
        return found

    def __iter__(self) -> ShareConsumer:
        return self

    def __next__(self) -> _native.ConsumerRecord:
        for records in self.poll(self.config.consumer_timeout_ms, 1).values():
            return records[0]
        raise StopIteration

    def wakeup(self) -> None:
        """End the `poll` under way in another thread, or else the next one, with WakeupError; signal handlers may."""
        self._set_wakeup(self._process)

    # -- the end ------------------------------------------------------------------------------------------------------

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return counts since this consumer was made; {} if `metrics_enabled` is off."""
        if not self.config.metrics_enabled or self._readers is None:
            return {}
        return {
            "share-consumer-metrics": {
                "records-consumed-total": self._received,
                "bytes-consumed-total": self._received_bytes,
                "acknowledgements-send-total": self._acknowledged + self._late,
                "acknowledgements-error-total": self._late,
                "records-given-up-total": self._given_up,
                "sleep-total": self._slept,
                "sleep-rescued-total": self._rescued,
            }
        }

    def close(self, timeout_ms: float | None = None) -> None:
        """Carry out what was acknowledged, release everything else, and leave the group; a second time does nothing.

        As in Kafka, what the last `poll` returned is not accepted by closing, not in "implicit" mode either: call
        `commit_sync` before, if it is done.

        Args:
            timeout_ms: No effect: nothing is waited for.

        Raises:
            ConcurrentUseError: another thread is inside, or this is a signal handler in the middle of a call; call
                `wakeup` instead, and close when the call has ended.
            IllegalStateError: this is a callback.
        """
        if timeout_ms is not None:
            checked_timeout_ms(timeout_ms)
        if self._readers is None:
            return
        if self._is_inherited():
            self._let_go()
        else:
            self._alone(self._end)

    def __enter__(self) -> ShareConsumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ShareConsumer {self._client_id} of {self.config.group_id!r} {self._connection.broker.directory}>"

    def _end(self) -> None:
        if self._is_calling_back:
            raise IllegalStateError("close() from a callback; close when the call that made it has returned")
        try:
            self._end_subscription()
            self._call_back()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._shut()
        for held in self._held.values():
            held.reader.close()
        self._held.clear()
        self._busy.clear()
        if self._dead_letters is not None:
            self._dead_letters.close()
        self._connection.close()
        close_serdes(self.config.key_deserializer, self.config.value_deserializer)

    # -- called by the core -------------------------------------------------------------------------------------------

    def _on_attention(self) -> None:
        """A poll begins after records were handed out or something was committed, or it is time to look around."""
        if self._is_calling_back:
            return  # the callback polls
        self._acknowledge_before_poll()
        self._call_back()
        if self._errors:
            raise self._errors.pop(0)
        if self._look_at_ns and time.monotonic_ns() >= self._look_at_ns:
            self._look_around()
        self._attention_at_ns = self._look_at_ns

    def _on_out_of_range(self, reader: _native.Reader, offset: int, begin: int, end: int) -> None:
        """A window passes what is not in the log any more by itself, so this is damage."""
        raise OffsetOutOfRangeError(*reader.key, offset, begin, end)

    def _checked_timeout(self, timeout_ms: Any) -> float:
        return checked_timeout_ms(timeout_ms)

    # -- handing out --------------------------------------------------------------------------------------------------

    def _hand_out(self, found: Batches) -> Batches:
        """Return what the user gets of what was taken. Raises: what went wrong, if that is nothing."""
        self._attention_at_ns = 1  # the next poll begins with what was said about these
        try:  # around a call, not a loop: what a signal handler raises where a loop jumps back is not caught here
            good = self._choose(found)
        except BaseException:  # such a one's: nobody gets them
            self._return_all(found)
            raise
        if not good and self._errors:
            raise self._errors.pop(0)
        return good

    def _choose(self, found: Batches) -> Batches:
        good: Batches = {}
        for key, records in found.items():
            held = self._held.get(key)
            if held is not None:
                held.take(records)
                self._busy[key] = held
                if chosen := self._chosen(held, records):
                    good[key] = chosen
        return good

    def _chosen(self, held: Held, records: list[_native.ConsumerRecord]) -> list[_native.ConsumerRecord]:
        """Give up what was delivered too often; return the others, deserialized."""
        limit = self.config.delivery_count_limit
        chosen = [record for record in records if record.delivery_count <= limit]
        if len(chosen) != len(records):
            for record in records:
                if record.delivery_count > limit:
                    tried = record.delivery_count - 1
                    self._set_aside(held, record, f"delivered {tried} times and not settled", tried)
        if self._read_key is None and self._read_value is None:
            return chosen
        read = [(record, self._deserialized(held, record)) for record in chosen]
        return [each for _, each in read if each is not None]

    def _deserialized(self, held: Held, record: _native.ConsumerRecord) -> _native.ConsumerRecord | None:
        """Return a record with its key and value read; None if that failed.

        As KafkaShareConsumer does, one that fails is released: another member may run another version of the code. The
        delivery limit ends that.
        """
        headers = record.headers
        try:
            return record._replace(
                key=_read(self._read_key, record.topic, headers, record.key),
                value=_read(self._read_value, record.topic, headers, record.value),
            )
        except Exception as error:
            count, limit = record.delivery_count, self.config.delivery_count_limit
            error.add_note(
                f"{record.topic}-{record.partition} offset {record.offset} was "
                f"{'given up' if count >= limit else 'released'} after delivery {count} of {limit}"
            )
            self._errors.append(error)
            if count >= limit:
                self._set_aside(held, record, f"a deserializer raised {error!r}", count)
            else:
                self._give_back(held, [record])
            return None

    @alone
    def _return(self, found: Batches) -> None:
        """Release what a poll returned and nobody was given after all."""
        self._return_all(found)

    def _return_all(self, found: Batches) -> None:
        for key, records in found.items():
            held = self._held.get(key)
            if held is not None:
                self._give_back(held, records)

    def _set_aside(self, held: Held, record: _native.ConsumerRecord, reason: str, tried: int) -> None:
        """Give a record up that nobody was given."""
        held.given.pop(record.offset, None)
        try:
            self._give_up(held, record, reason, tried)
        except ShmqError as error:
            self._errors.append(error)

    def _give_back(self, held: Held, records: Sequence[_native.ConsumerRecord]) -> None:
        """Release records that nobody was given; nothing is changed for those that are settled."""
        for record in records:
            held.given.pop(record.offset, None)
        self._release(held, records)


def _read(function: Deserialize | None, topic: str, headers: Sequence[Any], data: bytes | None) -> Any:
    return data if function is None or data is None else function(topic, headers, data)
