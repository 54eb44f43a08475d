"""Taking items: waiting for them, and what is done about those that cannot be read or kill whoever takes them.

Owns: what is raised when, and that no item is taken back silently.
Must never: hold anything while it waits that others need.
Sits: in queues, over `handle`, `takers` and packing; under `base`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from typing import Any

from shmq import packing
from shmq.blobs import REFERENCE_KIND
from shmq.errors import PayloadGoneError, UnknownTopicOrPartitionError

from .handle import SLICE_MS, Handle, ShutDown, until
from .takers import REJECT, Taken, Taker
from .words import CLOSED_TO_ALL, SHUTDOWN

_log = logging.getLogger(__name__)


class Taking(Handle):
    """The part of a queue that takes."""

    def _taker(self) -> Taker:
        """This thread's way to take, with what it has taken before settled."""
        try:
            taker: Taker = self._local.taker
        except AttributeError:
            taker = self._new_taker()
        if self._closed or "reader" in self._closed_ends:
            raise self._closed_error()
        if taker.opened.words.get(SHUTDOWN) == CLOSED_TO_ALL:
            raise ShutDown
        if taker.unsettled:
            taker.settle()
        return taker

    def _get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take an item: what the core does not do, since a queue redelivers, or nothing is there, or much else."""
        taker: Taker | None = getattr(self._local, "taker", None)
        if taker is None or taker.rest or self._readiness or self._closed_ends:
            return self._get_carefully(block, timeout)
        if taker.unsettled:
            taker.settle()
        rows = taker._take_values(0.0)
        if not rows or rows[0][2] > self._most_deliveries or rows[0][0][0] == REFERENCE_KIND:
            taker.rest = rows
            return self._get_carefully(block, timeout)
        if taker.redelivers:
            taker.note(rows[0], 0)
        try:
            return packing.loads(rows[0][0])
        except BaseException as error:
            self._explain(error, rows[0][1])
            raise

    def _get_carefully(self, block: bool, timeout: float | None) -> Any:
        taker = self._taker()
        while True:
            rows = self._take_rest(taker) or self._take(taker, 0.0, 1) or self._wait(taker, 1, block, timeout)
            try:
                return self._object(taker, rows.pop(0))
            except PayloadGoneError:
                continue

    def _get_many(self, most: int, block: bool, timeout: float | None) -> list[Any]:
        taker = self._taker()
        objects: list[Any] = []
        while not objects:
            rows = self._take_rest(taker) or self._take(taker, 0.0, most) or self._wait(taker, most, block, timeout)
            taker.rest = rows  # whatever is raised now, they come with the next call
            try:
                while len(rows) < most and (more := self._take(taker, 0.0, most - len(rows))):
                    rows += more
                self._hand_out(taker, rows, most, objects)
            finally:
                self._busy = self._busy or bool(taker.rest)
        return objects

    def _hand_out(self, taker: Taker, rows: list[Taken], most: int, objects: list[Any]) -> None:
        """Add what was taken, as objects; what comes after one that cannot be read is left for the next call."""
        loads, index = packing.loads, 0
        try:
            for index, row in enumerate(rows[:most]):  # noqa: B007  # used below
                data = row[0]
                try:
                    quick = data[0] != REFERENCE_KIND and not taker.redelivers
                    objects.append(loads(data) if quick else taker.hand_out(row))
                except PayloadGoneError:
                    continue
            index = most
        except Exception as error:
            if not objects:
                self._explain(error, rows[index][1])
                index += 1
                raise
            taker.take_back()  # raised by the next call, which finds it first
        except BaseException:  # nobody gets any of them now
            for _ in range(len(taker.unsettled)):
                taker.take_back()
            index = 0
            raise
        finally:
            taker.rest = rows[index:]

    def _wait(self, taker: Taker, most: int, block: bool, timeout: float | None) -> list[Taken]:
        """Return 1 or more items. Raises: queue.Empty, ShutDown, EOFError, and that the queue is closed."""
        ends_at = until(block, timeout)
        while True:
            is_shut = taker.opened.words.get(SHUTDOWN)
            left_ms = (ends_at - time.monotonic()) * 1000
            rows = self._take(taker, max(0.0, min(left_ms, SLICE_MS)), most)
            if rows:
                return rows
            if self._closed:
                raise self._closed_error()
            if is_shut:
                raise ShutDown
            if left_ms <= 0:
                raise queue.Empty
            if self._nobody_is_left() and not (rows := self._take(taker, 0.0, most)):
                raise EOFError
            if rows:
                return rows

    def _take(self, taker: Taker, timeout_ms: float, most: int) -> list[Taken]:
        try:
            rows = taker._take_values(timeout_ms, most)
        except UnknownTopicOrPartitionError:
            if self._closed:  # by another thread, and nobody else had the queue
                raise self._closed_error() from None
            raise
        if self._readiness is not None:
            self._readiness.look()
        return [row for row in rows if row[2] <= self._most_deliveries or not self._is_given_up(taker, row)]

    def _take_rest(self, taker: Taker) -> list[Taken]:
        """What was taken before, and not handed out."""
        taker.rest = [row for row in taker.rest if row[2] <= self._most_deliveries or not self._is_given_up(taker, row)]
        return taker.rest

    def _is_given_up(self, taker: Taker, taken: Taken) -> bool:
        """Reject an item that was taken too often, once it is where such items go."""
        data, offset, delivery_count = taken
        with contextlib.suppress(PayloadGoneError):
            self._bury(taker.opened.load(data)[0])
        if taker.drop(taken, REJECT):
            _log.warning(
                "item %d of %r is given up: it was taken %d times, by processes that died or did not settle it",
                *(offset, self, delivery_count - 1),
            )
        return True

    def _bury(self, packed: packing.Part) -> None:
        """Put an item that is given up where such items go."""

    def _object(self, taker: Taker, taken: Taken) -> Any:
        try:
            return taker.hand_out(taken)
        except PayloadGoneError:
            raise
        except BaseException as error:
            self._explain(error, taken[1])
            raise

    def _explain(self, error: BaseException, offset: int) -> None:
        error.add_note(f"item {offset} of {self!r} cannot be unpickled; the queue goes on with the next one")
