"""Appending items: arrays of them, one by one, and in space that was reserved.

Owns: which items go to which partition, one claim for each, and splitting what no segment can hold.
Must never: append anything before all of it was checked.
Sits: over placing and the core's appenders; under the producer.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from shmq import _native
from shmq.arrays.checks import as_bytes, checked_item, checked_items, untyped
from shmq.arrays.reserving import Reserved
from shmq.config import ItemType
from shmq.errors import (
    IllegalArgumentError,
    RecordListTooLargeError,
    TopicTypeError,
    UnknownTopicOrPartitionError,
)
from shmq.placing import Placing
from shmq.rows import checked_timestamp_ms, owned
from shmq.serde import as_buffer
from shmq.types import BatchMetadata

if TYPE_CHECKING:
    import numpy as np

_BYTES = ItemType("uint8")
Keys = Sequence[bytes | None] | None


class ArraySending(Placing):
    """The part of Producer that is about typed topics."""

    def send_array(
        self,
        topic: str,
        array: Any,
        keys: Iterable[Any] | None = None,
        *,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> list[BatchMetadata]:
        """Append items, all of one partition in one claim: whole or not at all, and one contiguous array in memory.

        Args:
            topic: A topic with the options `dtype` and `shape`.
            array: `(k, *shape)` of that dtype, C-contiguous; on a topic whose items vary in length, one item:
                `(n, *shape)`. A numpy array, or what lends its memory as one: a torch tensor, an Arrow array.
            keys: k of them, as for `send`, or None: then all go to one partition.
            partition: The one partition for all of them.
            timestamp_ms: The one timestamp for all of them; None is now.

        Returns:
            Where each batch went: one per partition, more where it is larger than a segment and was split; [] for no
            items.

        Raises:
            TopicTypeError: the topic is not typed, or the array is not what its items are; nothing was appended.
            ValueError: `keys` is not as long as the array.
            Else as `send`. If space runs out between two batches, a note on the error says what was appended.
        """
        handle = self._topic(topic)
        if handle.item_type is None:
            raise untyped(handle.name, "use send()")
        stamp = -1 if timestamp_ms is None else checked_timestamp_ms(timestamp_ms)
        items = checked_items(handle.name, handle.item_type, array)
        return self._append_array(handle, items, keys, partition, stamp)

    def reserve(
        self,
        topic: str,
        items: int | None = None,
        *,
        nbytes: int | None = None,
        keys: Iterable[Any] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Reserved:
        """Return a context manager that gives a writable array where the records shall lie; leaving it publishes them.

        An exception, or the death of this process, publishes nothing. Others append and read meanwhile; the offsets
        are given when it is published. Where the segment has been left behind by then, the array is copied once.

        Args:
            topic: Where to.
            items: How many items, of a typed topic: the array is `(items, *shape)`. Where the length of items varies:
                the length of one item, `(items, *shape)`.
            nbytes: Size of the one record, of a topic that is not typed: the array is `(nbytes,)` of uint8.
            keys: As many as items, or None.
            partition: The one partition for all of them; None: as for `send`, by the keys, which must agree.
            timestamp_ms: The one timestamp for all of them; None is when it is published.

        Returns:
            See `Reserved`; it has `metadata` afterwards. The array holds what was there before: fill all of it.

        Raises:
            TopicTypeError: `items` and the topic is not typed, or `nbytes` and it is.
            IllegalArgumentError: less than 1, or the keys fall in several partitions.
            Else as `send`, when it is entered or left.
        """
        handle = self._topic(topic)
        item = handle.item_type
        number = _checked_count(handle, items, nbytes)
        size = number if item is None else number * item.unit_bytes
        count = 1 if item is None or item.varies else number
        stamp = -1 if timestamp_ms is None else checked_timestamp_ms(timestamp_ms)
        keys = None if keys is None else list(keys)
        key_bytes = self._keys(handle, keys, count)
        place = self._one_partition(handle, keys, key_bytes, partition, size)
        shape, dtype = ((number,), _BYTES.dtype) if item is None else ((number, *item.shape), item.dtype)
        return Reserved(self, handle, place, shape, dtype, size, count, key_bytes, stamp)

    # -- for the producer ---------------------------------------------------------------------------------------------

    def _send_item(
        self, handle: _native.Topic, value: Any, key: Any, headers: Any, partition: Any, timestamp_ms: Any
    ) -> Any:
        """`send` on a typed topic."""
        if headers:
            raise _no_headers(handle)
        stamp = -1 if timestamp_ms is None else checked_timestamp_ms(timestamp_ms)
        raw = self._checked_value(handle, value)
        [key_bytes] = self._keys(handle, [key], 1) or [None]
        number = self._pick(handle, key, key_bytes, value, raw.data, partition, raw.nbytes)
        base, stamped = self._append_items(handle, number, raw, 1, [key_bytes], stamp)
        return self._sent_item(handle, number, base, stamped, -1 if key_bytes is None else len(key_bytes), raw.nbytes)

    def _send_items(
        self, handle: _native.Topic, values: list[Any], keys: Any, partition: Any, stamp: int
    ) -> list[BatchMetadata]:
        """`send_many` on a typed topic."""
        import numpy as np

        raw = [self._checked_value(handle, value) for value in values]
        if keys is not None and len(keys) != len(values):
            raise ValueError(f"{len(values)} values but {len(keys)} keys; give as many, or none")
        if len({len(each) for each in raw}) == 1:
            return self._append_array(handle, np.stack(raw), keys, partition, stamp)
        done: list[BatchMetadata] = []
        for index, each in enumerate(raw):
            key = None if keys is None else [keys[index]]
            done += self._append_array(handle, each[None], key, partition, stamp)
        return done

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _append_array(
        self, handle: _native.Topic, items: np.ndarray[Any, Any], keys: Iterable[Any] | None, partition: Any, stamp: int
    ) -> list[BatchMetadata]:
        """Append `(k, ...)` items: one batch per partition."""
        keys = None if keys is None else list(keys)
        key_bytes = self._keys(handle, keys, len(items))
        if not len(items):
            return []
        if handle.item_type.varies:
            self._check_sizes(handle, 0, [items[0].nbytes])
        done: list[BatchMetadata] = []
        try:
            for number, part, part_keys in self._parts(handle, items, keys, key_bytes, partition):
                self._append_halves(handle, number, part, part_keys, stamp, done)
        except BaseException as error:
            if done:
                error.add_note(f"{sum(each.count for each in done)} of {len(items)} items were appended: {done}")
            raise
        return done

    def _parts(
        self, handle: _native.Topic, items: np.ndarray[Any, Any], keys: Keys, key_bytes: Keys, partition: Any
    ) -> list[tuple[int, np.ndarray[Any, Any], Keys]]:
        """Share items out: partition, items and keys of each."""
        if partition is not None or (keys is None and self._partitioner is None):
            return [(self._choose(handle, None, partition, items.nbytes), items, key_bytes)]
        by_partition: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            key, serialized = (None, None) if keys is None or key_bytes is None else (keys[index], key_bytes[index])
            value = None if self._partitioner is None else as_bytes(item).data
            number = self._pick(handle, key, serialized, item, value, None, item.nbytes)
            by_partition.setdefault(number, []).append(index)
        if len(by_partition) == 1:
            return [(number, items, key_bytes) for number in by_partition]
        return [
            (number, items[chosen], None if key_bytes is None else [key_bytes[index] for index in chosen])
            for number, chosen in by_partition.items()
        ]

    def _one_partition(self, handle: _native.Topic, keys: Keys, key_bytes: Keys, partition: Any, nbytes: int) -> int:
        """The partition of what is reserved, whose values nobody knows yet."""
        if partition is not None or (keys is None and self._partitioner is None):
            return self._choose(handle, None, partition, nbytes)
        pairs = [(None, None)] if keys is None or key_bytes is None else zip(keys, key_bytes, strict=True)
        numbers = {self._pick(handle, key, each, None, None, None, nbytes) for key, each in pairs}
        if len(numbers) > 1:
            raise IllegalArgumentError(
                f"topic {handle.name!r}: the keys fall in the partitions {sorted(numbers)}, a reservation lies in "
                "one; reserve for each, or give partition"
            )
        return numbers.pop()

    def _append_halves(
        self,
        handle: _native.Topic,
        number: int,
        items: np.ndarray[Any, Any],
        keys: Keys,
        stamp: int,
        done: list[BatchMetadata],
    ) -> None:
        """Append items as one batch, or as halves where a segment cannot hold them all."""
        count = len(items)
        try:
            if count > _native.MAX_BATCH_RECORDS:
                raise RecordListTooLargeError(handle.name, number, count, _native.MAX_BATCH_RECORDS, "one batch")
            base, stamped = self._append_items(handle, number, as_bytes(items), count, keys, stamp)
        except RecordListTooLargeError:
            if count == 1:
                raise
            half = count // 2
            self._append_halves(handle, number, items[:half], keys and keys[:half], stamp, done)
            self._append_halves(handle, number, items[half:], keys and keys[half:], stamp, done)
        else:
            self._sent += count  # no call in between: no other thread either
            self._sent_bytes += items.nbytes
            done.append(BatchMetadata(handle.name, number, base, count, stamped))

    def _append_items(
        self, handle: _native.Topic, number: int, raw: np.ndarray[Any, Any], count: int, keys: Keys, stamp: int
    ) -> tuple[int, int]:
        given = None if keys is None or all(key is None for key in keys) else list(keys)
        try:
            return handle.appenders[number].append_items(raw, count, self._patience_ms, given, stamp)
        except UnknownTopicOrPartitionError:  # deleted; it may be created again: look for it anew next time
            self._forget(handle.name)
            raise

    def _keys(self, handle: _native.Topic, keys: Iterable[Any] | None, count: int) -> list[bytes | None] | None:
        """Serialize keys. Raises: ValueError: they are not as many as items."""
        if keys is None:
            return None
        serialize, name = self._key_serializer, handle.name
        serialized = keys if serialize is None else [serialize(name, [], key) for key in keys]
        found = [owned(as_buffer(key, name, "the key")) for key in serialized]
        if len(found) != count:
            raise ValueError(f"topic {handle.name!r}: {count} items but {len(found)} keys; give as many, or none")
        return found

    def _checked_value(self, handle: _native.Topic, value: Any) -> np.ndarray[Any, Any]:
        """One value as the bytes of an item, serialized if there is a serializer."""
        if self._value_serializer is not None:
            value = self._value_serializer(handle.name, [], value)
        raw = checked_item(handle.name, handle.item_type, value)
        if handle.item_type.varies:
            self._check_sizes(handle, 0, [raw.nbytes])
        return raw


def _checked_count(handle: _native.Topic, items: int | None, nbytes: int | None) -> int:
    """How many items are to be reserved, or bytes of an untyped topic."""
    item = handle.item_type
    if item is None and items is not None:
        raise untyped(handle.name, "give nbytes")
    if item is not None and nbytes is not None:
        raise TopicTypeError(handle.name, f"items of {item}", "bytes", "give the number of items, not nbytes")
    wanted, what = (nbytes, "nbytes") if item is None else (items, "items")
    if isinstance(wanted, bool) or not hasattr(wanted, "__index__"):
        raise TypeError(f"topic {handle.name!r}: {what} is an int of 1 or more, not {wanted!r}")
    number = operator.index(wanted)  # type: ignore[arg-type]  # it has __index__
    if number < 1:
        raise IllegalArgumentError(f"topic {handle.name!r}: {what}={number}: must be 1 or more")
    return number


def _no_headers(handle: _native.Topic) -> TopicTypeError:
    advice = "nothing was appended; items have no headers: leave them out, or make them a field of a structured dtype"
    return TopicTypeError(handle.name, f"items of {handle.item_type}", "a record with headers", advice)
