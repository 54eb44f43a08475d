"""What a share consumer says about its records, and carrying it out in the windows.

Owns: acknowledging and committing, giving records up, and telling the user what came too late.
Must never: settle a record as done before its dead letter is in the log, or change anything for one that is another's.
Sits: over `places` and `dead_letters`; under `consumer`. Source: KafkaShareConsumer of Kafka's Java client.

A settlement is one compare-and-swap in the window, which expects the delivery that this consumer was given. There is no
round trip: what is committed is done when the call returns.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from shmq import _native
from shmq.config import checked_timeout_ms
from shmq.errors import IllegalArgumentError, IllegalStateError, InvalidRecordStateError, ShmqError
from shmq.positions import alone
from shmq.share.dead_letters import DeadLetters
from shmq.share.held import ACCEPTED, Held, Saying
from shmq.share.places import SharePlaces
from shmq.types import AcknowledgeType, TopicPartition

_log = logging.getLogger(__name__)

AcknowledgementCommitCallback = Callable[[dict[TopicPartition, set[int]], Exception | None], object]

_RETRY_MS = 1000
"""What could not be given up, since the dead-letter topic is full or gone, is delivered again after so long."""
_MOST_DELAY_MS = (1 << 31) - 1


class Outcome(NamedTuple):
    """What became of the acknowledgements of one partition: offsets that were settled, and that were not, and why."""

    key: TopicPartition
    done: set[int]
    failed: set[int]
    error: ShmqError | None


class Settling(SharePlaces):
    """The part of ShareConsumer that is about acknowledgements."""

    _dead_letters: DeadLetters | None = None
    """None: there is no topic for them."""
    _callback: AcknowledgementCommitCallback | None = None
    _answers: list[tuple[AcknowledgementCommitCallback, dict[TopicPartition, set[int]], ShmqError | None]]
    _is_calling_back = False
    _acknowledged = _late = _given_up = 0

    # -- acknowledging ------------------------------------------------------------------------------------------------

    @alone
    def acknowledge(
        self,
        record: _native.ConsumerRecord,
        type: AcknowledgeType = AcknowledgeType.ACCEPT,
        *,
        delay_ms: float | None = None,
        reason: str | None = None,
    ) -> None:
        """Say what shall become of a record that `poll` returned; the next `poll` or commit carries it out.

        Args:
            record: As it was returned.
            type: ACCEPT: it is done. RELEASE: deliver it again, to whoever asks first. REJECT: never again; it goes to
                the dead letters. RENEW: begin its lock anew; it stays with this consumer and must be acknowledged once
                more, for which no poll waits.
            delay_ms: With RELEASE: not before so many milliseconds, up to 2**31 - 1.
            reason: With REJECT or RELEASE: why, for the header of the dead letter, if it becomes one.

        Raises:
            IllegalStateError: it was acknowledged already, it is not with this consumer, or the mode is "implicit".
            IllegalArgumentError: there is no such type, or an argument that this type does not take.
        """
        if not isinstance(record, _native.ConsumerRecord):
            raise TypeError(f"acknowledge() takes a record that poll() returned, not {record!r}")
        is_plain = type is AcknowledgeType.ACCEPT and delay_ms is None and reason is None
        saying = ACCEPTED if is_plain else _saying(type, delay_ms, reason)
        if self.config.share_acknowledgement_mode == "implicit":
            raise IllegalStateError(
                "this consumer acknowledges all records by itself; make it with share_acknowledgement_mode='explicit'"
            )
        held = self._held.get((record.topic, record.partition))  # type: ignore[call-overload]  # equal to the key
        problem = "this consumer does not read its partition" if held is None else held.say(record, saying)
        if problem:
            raise IllegalStateError(
                f"{record.topic}-{record.partition} offset {record.offset}, delivery {record.delivery_count}: {problem}"
            )

    @alone
    def commit_sync(self, timeout_ms: float | None = None) -> dict[TopicPartition, ShmqError | None]:
        """Carry out what was acknowledged; in "implicit" mode, accept everything that the last `poll` returned.

        Args:
            timeout_ms: No effect but on dead letters, which never wait for longer than a second.

        Returns:
            For each partition that had something: None, or the first error. An acknowledgement that came too late is an
            InvalidRecordStateError with the offsets; it has changed nothing. So has a RELEASE or REJECT whose dead
            letter could not be appended: the record is delivered again.
        """
        if timeout_ms is not None:
            checked_timeout_ms(timeout_ms)
        self._call_back()
        return {outcome.key: outcome.error for outcome in self._commit()}

    @alone
    def commit_async(self, callback: AcknowledgementCommitCallback | None = None) -> None:
        """The same, but outcomes go to `callback`, or else to that of `set_acknowledgement_commit_callback`.

        It is done when this returns; callbacks come with the next `poll`, commit or `close`, as `callback(offsets by
        partition, error or None)`: once for what was settled in a partition, and once for what was not.
        """
        self._report(self._commit(), callback or self._callback)
        if self._answers:
            self._nudge(self._process)

    @alone
    def set_acknowledgement_commit_callback(self, callback: AcknowledgementCommitCallback | None) -> None:
        """Be told of what `poll` and `close` settle, and `commit_async`; see there. None: errors go to the log."""
        self._callback = callback

    # -- before a poll, and at the end --------------------------------------------------------------------------------

    def _acknowledge_before_poll(self) -> None:
        """Carry out what was acknowledged, or by polling again is. Raises: IllegalStateError: some is not."""
        if self.config.share_acknowledgement_mode == "implicit":
            self._accept_all()
        else:
            for key, held in self._busy.items():
                if held.given:
                    raise IllegalStateError(
                        f"{len(held.given)} records of {key.topic}-{key.partition} are not acknowledged, the first at "
                        f"offset {next(iter(held.given))}; acknowledge() all that poll() returned before the next one"
                    )
        if self._busy:
            self._report(self._settle(self._busy), self._callback)

    def _part_with(self, keys: Iterable[TopicPartition]) -> None:
        chosen = {key: self._held[key] for key in keys}
        self._report(self._settle(chosen), self._callback)
        for key, held in chosen.items():
            self._release(held, held.rest())
            self._forget(key)

    # -- settling -----------------------------------------------------------------------------------------------------

    def _commit(self) -> list[Outcome]:
        if self.config.share_acknowledgement_mode == "implicit":
            self._accept_all()
        return self._settle(self._busy)

    def _accept_all(self) -> None:
        for held in self._busy.values():
            held.accept_all()

    def _settle(self, places: dict[TopicPartition, Held]) -> list[Outcome]:
        """Carry out what was said about the records of these partitions."""
        outcomes = []
        for key, held in list(places.items()):
            if held.said:
                outcome = self._settle_place(key, held)
                outcomes.append(outcome)
                self._acknowledged += len(outcome.done)
                self._late += len(outcome.failed)
            if not (held.given or held.said or held.renewed):
                self._busy.pop(key, None)
        return outcomes

    def _settle_place(self, key: TopicPartition, held: Held) -> Outcome:
        done: set[int] = set()
        late: set[int] = set()
        failed: set[int] = set()
        error: ShmqError | None = None
        settle, said = held.reader.settle, held.said
        for offset in list(said):
            record, saying = said.pop(offset)  # before: what a signal handler raises here costs a delivery, no more
            try:
                if saying is ACCEPTED:
                    is_done = settle(offset, record.delivery_count, AcknowledgeType.ACCEPT)
                else:
                    is_done = self._carry_out(held, record, saying)
                (done if is_done else late).add(offset)
            except ShmqError as failure:
                failed.add(offset)
                error = error or failure
        if late:
            error = error or InvalidRecordStateError(self.config.group_id, *key, tuple(sorted(late)))
        return Outcome(key, done, late | failed, error)

    def _carry_out(self, held: Held, record: _native.ConsumerRecord, saying: Saying) -> bool:
        """Settle one record. False: it is another's by now. Raises: ShmqError: its dead letter could not be sent."""
        kind, count = saying.kind, record.delivery_count
        if kind is AcknowledgeType.REJECT:
            return self._give_up(held, record, saying.reason or "rejected", count, is_wanted=True)
        if kind is AcknowledgeType.RELEASE and count >= self.config.delivery_count_limit:
            why = f"released after delivery {count}, the last that delivery_count_limit allows"
            return self._give_up(held, record, f"{saying.reason}; {why}" if saying.reason else why, count)
        settled = held.reader.settle(record.offset, count, kind, saying.delay_ms)
        if settled and kind is AcknowledgeType.RENEW:
            held.renewed[record.offset] = record
        return settled

    def _give_up(
        self, held: Held, record: _native.ConsumerRecord, reason: str, tried: int, *, is_wanted: bool = False
    ) -> bool:
        """Send a record to the dead letters, if there is a place for them, and settle it. Errors: `_carry_out`.

        `is_wanted`: the user rejected it, so that the log need not warn if it is gone.

        Whose it is is asked first, and its lock begun anew: one that is another's leaves no dead letter. A death
        between the two leaves one, and the record is delivered again.
        """
        settle, letters = held.reader.settle, self._dead_letters
        if letters is not None:
            if not settle(record.offset, record.delivery_count, AcknowledgeType.RENEW):
                return False
            try:
                letters.send(record, reason, tried)
            except BaseException:
                settle(record.offset, record.delivery_count, AcknowledgeType.RELEASE, _RETRY_MS)
                raise
        settled = settle(record.offset, record.delivery_count, AcknowledgeType.REJECT)
        if settled:
            self._given_up += 1
            where = "there is no dead_letter_topic" if letters is None else f"it went to {letters.topic!r}"
            place = f"{record.topic}-{record.partition} offset {record.offset}"
            level = logging.WARNING if letters is None and not is_wanted else logging.INFO
            _log.log(level, "share group %r gave up %s: %s (%s)", self.config.group_id, place, reason, where)
        return settled

    def _release(self, held: Held, records: Iterable[_native.ConsumerRecord]) -> None:
        """Let others have records that nobody has worked on, however often they were delivered."""
        for record in records:
            with contextlib.suppress(ShmqError):  # its topic is gone: so is the record
                held.reader.settle(record.offset, record.delivery_count, AcknowledgeType.RELEASE)

    # -- telling ------------------------------------------------------------------------------------------------------

    def _report(self, outcomes: list[Outcome], callback: AcknowledgementCommitCallback | None) -> None:
        """Keep outcomes for the callback, or put errors into the log."""
        for outcome in outcomes:
            if callback is not None:
                if outcome.done:
                    self._answers.append((callback, {outcome.key: outcome.done}, None))
                if outcome.failed:
                    self._answers.append((callback, {outcome.key: outcome.failed}, outcome.error))
            elif outcome.error is not None:
                _log.warning("%s", outcome.error)

    def _call_back(self) -> None:
        """Call the callbacks of what was settled before; not from inside of one."""
        if self._is_calling_back:
            return
        self._is_calling_back = True
        try:
            while self._answers:
                callback, offsets, error = self._answers.pop(0)
                self._lend(callback, offsets, error)
        finally:
            self._is_calling_back = False


def _saying(type: object, delay_ms: float | None, reason: str | None) -> Saying:
    if isinstance(type, bool) or type not in list(AcknowledgeType):
        names = ", ".join(each.name for each in AcknowledgeType)
        raise IllegalArgumentError(f"type={type!r}: one of AcknowledgeType.{{{names}}}")
    kind = AcknowledgeType(type)  # type: ignore[arg-type]  # one of its values
    if delay_ms is not None and kind is not AcknowledgeType.RELEASE:
        raise IllegalArgumentError(f"delay_ms={delay_ms!r}: only a RELEASE can be delayed, not {kind.name}")
    if reason is not None and not isinstance(reason, str):
        raise TypeError(f"reason must be text, not {reason!r}")
    if reason is not None and kind not in (AcknowledgeType.REJECT, AcknowledgeType.RELEASE):
        raise IllegalArgumentError(f"reason={reason!r}: a reason goes with REJECT or RELEASE, not {kind.name}")
    delay = 0.0 if delay_ms is None else checked_timeout_ms(delay_ms, "delay_ms")
    if delay > _MOST_DELAY_MS:
        raise IllegalArgumentError(f"delay_ms={delay_ms!r}: at most {_MOST_DELAY_MS}")
    return Saying(kind, round(delay), reason or "")
