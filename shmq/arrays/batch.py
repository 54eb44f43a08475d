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
        base_offset: Offset of the first item; the next ones follow it without gaps.
        keys: k of bytes or None; None where no item has a key.
        in_place: Whether no item was copied.

    `len(batch)` is k. Pickled, it becomes one with copies of the items.
    """

    __slots__ = ("_stamps", "base_offset", "in_place", "items", "keys")

    def __init__(
        self, items: Any, base_offset: int, stamps: Any, keys: list[bytes | None] | None, in_place: bool
    ) -> None:
        self.items, self.keys, self.in_place = items, keys, in_place
        self.base_offset, self._stamps = base_offset, stamps

    @property
    def offsets(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Offset of each item: `(k,)` of int64."""
        import numpy as np

        return np.arange(self.base_offset, self.base_offset + len(self), dtype=np.int64)

    @property
    def timestamps(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """When each item was made: `(k,)` of int64, in milliseconds since 1970."""
        import numpy as np

        if isinstance(self._stamps, int):
            return np.full(len(self), self._stamps, dtype=np.int64)
        return np.frombuffer(self._stamps, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.items)

    def __reduce__(self) -> tuple[Any, ...]:
        stamps = self._stamps if isinstance(self._stamps, int) else bytes(self._stamps)
        return ArrayBatch, (self.items, self.base_offset, stamps, self.keys, False)

    def __repr__(self) -> str:
        shape = getattr(self.items, "shape", f"{len(self)} arrays")
        return f"<ArrayBatch {shape} from offset {self.base_offset}{' in place' if self.in_place else ''}>"
