"""Reading items: as one array for each partition, in place.

Owns: which topics can be read so, and from memory to arrays.
Must never: let an item be skipped because something was raised after it was read.
Sits: over subscription and the core's Items; under the consumer.
"""

from __future__ import annotations

from typing import Any

from shmq import _native
from shmq.arrays.batch import ArrayBatch
from shmq.arrays.checks import untyped
from shmq.config import ItemType
from shmq.errors import IllegalStateError
from shmq.serde import Deserialize
from shmq.subscription import Subscription
from shmq.types import TopicPartition


class ArrayReading(Subscription):
    """The part of Consumer that is about typed topics."""

    _deserialize_key: Deserialize | None
    _arrays_from: list[_native.Reader] | None = None
    """The assignment that was found to be of typed topics alone."""
    _are_all_fixed = True

    def poll_arrays(self, timeout_ms: float = 0, max_items: int | None = None) -> dict[TopicPartition, ArrayBatch]:
        """Return the next items of the assigned partitions, of each as one read-only array that is the shared memory.

        An array stays as it is for as long as it or a view of it lives: after `close`, after retention passed it by,
        after its topic was deleted. What arrays keep is bounded by `max_pinned_bytes`; beyond that they are copies.

        Args:
            timeout_ms: Longest wait for a first item, in milliseconds; 0 does not wait.
            max_items: At most this many over all partitions together; default `max_poll_records`.

        Returns:
            An `ArrayBatch` of 1 or more items for each partition that has news: of one `send_array`, or of equal
            sends that follow each other. Where items vary in length, a list of arrays. A partition without news is
            absent, so the dict is empty when time ran out.

        Raises:
            TopicTypeError: a topic that is assigned has no dtype; nothing was read.
            IllegalStateError: this consumer has a `value_deserializer`, which makes values of bytes.
            Else as `poll`. Whatever it raises, no item is skipped.
        """
        if self._readers != self._arrays_from:
            self._check_typed()
        if not self._are_all_fixed:
            return self._poll_records(timeout_ms, max_items)
        most = self.config.max_poll_records if max_items is None else max_items
        found = self._poll_items(timeout_ms, most, True)
        try:
            return {place: self._batch(place, items) for place, items in found.items()}
        except BaseException:
            self._stand_before({place: items.base_offset for place, items in found.items()})
            raise

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _check_typed(self) -> None:
        """Note how the topics that are assigned can be read."""
        if self.config.value_deserializer is not None:
            raise IllegalStateError("poll_arrays() gives arrays; make a consumer without value_deserializer for it")
        readers = list(self._readers or ())
        types = [self._typed(reader.key) for reader in readers]
        self._are_all_fixed = not any(item.varies for item in types)
        self._arrays_from = readers if self._readers is not None else None

    def _typed(self, place: TopicPartition) -> ItemType:
        item = self._item_types[place]
        if item is None:
            raise untyped(place.topic, "use poll()")
        return item

    def _batch(self, place: TopicPartition, found: _native.Items) -> ArrayBatch:
        """Items of a fixed size as one array over their memory, which it keeps by keeping `found`."""
        import numpy as np

        item, count = self._typed(place), found.count
        memory: Any = found
        if found.stride == item.item_bytes:
            items = np.ndarray((count, *item.shape), item.dtype, memory)
        else:
            items = np.ndarray((count, *item.shape), item.dtype, memory, 0, (found.stride, *item.strides))
        return ArrayBatch(items, found.base_offset, found.timestamps, self._keys_of(place, found.keys), found.in_place)

    def _poll_records(self, timeout_ms: float, max_items: int | None) -> dict[TopicPartition, ArrayBatch]:
        """Items of which some vary in length, each on its own."""
        before, self._values_in_place = self._values_in_place, True
        try:
            found = self.poll(timeout_ms, max_items)
        finally:
            self._values_in_place = before
        try:
            return {place: self._record_batch(place, records) for place, records in found.items()}
        except BaseException:
            self._stand_before({place: records[0].offset for place, records in found.items()})
            raise

    def _record_batch(self, place: TopicPartition, records: list[_native.ConsumerRecord]) -> ArrayBatch:
        import numpy as np

        item = self._typed(place)
        lengths = (-1,) if item.varies else ()
        arrays: Any = [np.frombuffer(each.value, item.dtype).reshape((*lengths, *item.shape)) for each in records]
        keys = [each.key for each in records]
        offsets = np.array([each.offset for each in records], np.int64)
        stamps = np.array([each.timestamp for each in records], np.int64)
        if not item.varies:
            arrays = np.stack(arrays)
            arrays.flags.writeable = False
        has_keys = any(key is not None for key in keys)
        in_place = item.varies and not any(isinstance(each.value.obj, bytes) for each in records)
        return ArrayBatch(arrays, offsets, stamps, keys if has_keys else None, in_place)

    def _keys_of(self, place: TopicPartition, keys: list[Any] | None) -> list[Any] | None:
        if keys is None or self._deserialize_key is None:
            return keys
        deserialize = self._deserialize_key
        return [None if key is None else deserialize(place.topic, [], key) for key in keys]

    def _stand_before(self, offsets: dict[TopicPartition, int]) -> None:
        """Read again what could not be handed out."""
        for reader in self._readers:
            if reader.key in offsets:
                self._seek(reader, offsets[reader.key])
                self._drop(reader)
