"""What `poll_arrays` gives of one partition.

Owns: its fields, and making offsets and timestamps into arrays when they are asked for.
Must never: copy items.
Sits: under `reading`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class ArrayBatch:
    """Items of one partition, one after the other.

    Attributes:
        items: `(k, *shape)`, read-only, in shared memory where `in_place`; it stays as it is for as long as it, or any
            view of it, lives. Where items vary in length: a list of k such arrays.
        keys: k of bytes or None, through the `key_deserializer` if there is one; None where no item has a key.
        in_place: Whether no item was copied.

    `len(batch)` is k. Pickled, it becomes one with copies of the items.
    """

    __slots__ = ("_offsets", "_stamps", "in_place", "items", "keys")

    def __init__(self, items: Any, offsets: Any, stamps: Any, keys: list[Any] | None, in_place: bool) -> None:
        self.items, self.keys, self.in_place = items, keys, in_place
        self._offsets = offsets  # an array, or the first one as an int
        self._stamps = stamps  # an array, its bytes, or one for all as an int

    @property
    def offsets(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Offset of each item: `(k,)` of int64. They rise, and may skip where a producer died."""
        import numpy as np

        if isinstance(self._offsets, int):
            return np.arange(self._offsets, self._offsets + len(self), dtype=np.int64)
        return np.asarray(self._offsets)

    @property
    def timestamps(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """When each item was made: `(k,)` of int64, in milliseconds since 1970."""
        import numpy as np

        if isinstance(self._stamps, int):
            return np.full(len(self), self._stamps, dtype=np.int64)
        if isinstance(self._stamps, np.ndarray):
            return self._stamps
        return np.frombuffer(self._stamps, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.items)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayBatch, (self.items, self.offsets, self.timestamps, self.keys, False)

    def __repr__(self) -> str:
        shape = getattr(self.items, "shape", f"{len(self)} arrays")
        return f"<ArrayBatch {shape} from offset {self.offsets[0]}{' in place' if self.in_place else ''}>"
