"""What the items of a typed topic are: a numpy dtype and a shape, each as text.

Owns: reading and writing both texts, which dtypes can lie in memory that processes share, and the bytes of an item.
Must never: import numpy for a topic that has no dtype.
Sits: in config; `topic` declares the options, `arrays` checks arrays by what stands here.
"""

from __future__ import annotations

import ast
import functools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .checks import Checker, UnfitError

if TYPE_CHECKING:
    import numpy as np

VARYING = "*"
_MOST_DIMENSIONS = 31  # with the one that counts items: what numpy 1 can
_MOST_ITEM_BYTES = (1 << 31) - 1
_LONGEST_TEXT = 4096
_NO_DTYPE = (TypeError, ValueError, LookupError, OverflowError, SyntaxError, MemoryError, RecursionError)
_SHORT_FIELD = re.compile(r"\s*(\w+)\s*:\s*([\w\[\]|<>=]+)\s*")


@dataclass(frozen=True)
class DtypeText(Checker):
    """A dtype as text, None for none. A numpy dtype, or what `numpy.dtype()` makes one of, is written as text."""

    @property
    def allowed(self) -> str:
        """The forms."""
        return "a numpy dtype such as float32, or x:f4,y:i8"

    def read(self, text: str) -> object:
        """Return the text; empty text is None."""
        return text.strip() or None

    def check(self, value: object) -> str | None:
        """Return the text that stands for the dtype, the same for all spellings of it."""
        if value is None:
            return None
        import numpy as np

        _check_length(value)
        try:
            given: Any = _literal(value) if isinstance(value, str) else value
            dtype = np.dtype(given)
        except _NO_DTYPE as error:
            raise UnfitError(f"is not a dtype ({error}); {self.allowed} is allowed") from None
        _check_dtype(dtype)
        _check_length(str(dtype))
        return str(dtype)

    def show(self, value: object) -> str:
        """Return the text; "" for none."""
        return "" if value is None else str(value)


@dataclass(frozen=True)
class ShapeText(Checker):
    """The lengths of an item's dimensions as text: "" for one value, "256", "28,28"; "*" first: any length."""

    @property
    def allowed(self) -> str:
        """The forms."""
        return "lengths such as 256, or 28,28; the first may be *"

    def check(self, value: object) -> str:
        """Return the text without spaces and brackets; an int or a tuple of them is written as text."""
        if isinstance(value, int) and not isinstance(value, bool):
            value = (value,)
        if isinstance(value, (tuple, list)):
            value = ",".join(map(str, value))
        if not isinstance(value, str):
            raise UnfitError(f"must be text or a tuple, not {type(value).__name__}; {self.allowed} is allowed")
        parts = [part.strip() for part in value.strip().strip("()[]").split(",")]
        if parts[-1] == "":  # "", "256,"
            parts.pop()
        for place, part in enumerate(parts):
            if part == VARYING and place == 0:
                continue
            if not (part.isascii() and part.isdigit()) or not 0 < int(part) <= _MOST_ITEM_BYTES:
                raise UnfitError(f"{part!r} is no length of a dimension; {self.allowed} is allowed")
        if len(parts) > _MOST_DIMENSIONS:
            raise UnfitError(f"has {len(parts)} dimensions; {_MOST_DIMENSIONS} is the most")
        return ",".join(str(int(part)) if part != VARYING else part for part in parts)


@dataclass(frozen=True)
class ItemType:
    """What each item of a typed topic is.

    Args:
        dtype_text: As `DtypeText` returns it.
        shape_text: As `ShapeText` returns it.

    Attributes:
        shape: Lengths of an item's dimensions; of items of varying length, without the first.
        varies: Whether items have a first dimension of any length.
    """

    dtype_text: str
    shape_text: str = ""

    @functools.cached_property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        import numpy as np

        return np.dtype(_literal(self.dtype_text))  # type: ignore[no-any-return]

    @functools.cached_property
    def varies(self) -> bool:
        """Whether items have a first dimension of any length."""
        return self.shape_text.startswith(VARYING)

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """Lengths of an item's dimensions, without the one that varies."""
        return tuple(int(part) for part in self.shape_text.split(",") if part not in ("", VARYING))

    @functools.cached_property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one place to the next in each dimension of `shape`."""
        return tuple(math.prod(self.shape[place + 1 :]) * self.dtype.itemsize for place in range(len(self.shape)))

    @functools.cached_property
    def unit_bytes(self) -> int:
        """Bytes of an item; where its length varies, of each step of that."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def item_bytes(self) -> int:
        """Bytes of each item; 0 where they vary."""
        return 0 if self.varies else self.unit_bytes

    def __str__(self) -> str:
        lengths = [*([VARYING] if self.varies else []), *map(str, self.shape)]
        shape = f"({lengths[0]},)" if len(lengths) == 1 else f"({', '.join(lengths)})"
        return f"{self.dtype_text} {shape}"


def _check_length(text: object) -> None:
    if isinstance(text, str) and len(text) > _LONGEST_TEXT:
        raise UnfitError(f"has more than {_LONGEST_TEXT} characters, written as text")


def _check_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse what cannot lie in memory that processes share."""
    if dtype.hasobject:
        raise UnfitError("has Python objects, which are addresses in one process; use numbers, or send bytes untyped")
    if not dtype.isnative:
        raise UnfitError(f"is big-endian; items lie in memory as this machine has them: {dtype.newbyteorder('=')}")
    if dtype.itemsize == 0:
        raise UnfitError("has no size; give texts one, such as S16 or U16")
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        raise UnfitError(f"has a shape; give dtype {base} and shape {','.join(map(str, shape))}")
    if dtype.isbuiltin == 2:
        raise UnfitError("is not numpy's own, so that other processes may not know it; use an integer of its size")


def _literal(text: str) -> Any:
    """What `numpy.dtype` takes for a text: itself, or the list that "x:f4,y:i8", "[('x', 'f4')]" stands for."""
    if text.lstrip()[:1] in ("[", "{", "("):
        return ast.literal_eval(text.strip())
    if ":" not in text:
        return text
    fields = [_SHORT_FIELD.fullmatch(part) for part in text.split(",")]
    if None in fields:
        raise ValueError("fields are written name:type, with commas between")
    return [(field[1], field[2]) for field in fields if field is not None]
