"""What a value may be: one small checker per kind of value.

Owns: reading Kafka's text form of a value, its range, and the words that say what would be right.
Must never: know any option by name.
Sits: under `options`, which pairs a checker with a name, a default and a line of documentation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from shmq.errors import IllegalArgumentError

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
INT32_MAX, INT64_MAX = (1 << 31) - 1, (1 << 63) - 1

_BYTE_UNITS = {"": 1, "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
_BYTE_UNITS |= {"b": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
_SHOWN_CHARACTERS = 60


class UnfitError(Exception):
    """A value is not what the checker allows; the text says what would be. Becomes an error that names the option."""


class Checker:
    """Base of the checkers: anything goes, and text stands for itself."""

    @property
    def allowed(self) -> str:
        """What would be right, for messages and tables."""
        return "any"

    def read(self, text: str) -> object:
        """Return what `text` stands for, unchecked. Raises: UnfitError: it stands for nothing."""
        return text

    def check(self, value: object) -> object:
        """Return `value` as the option shall hold it. Raises: UnfitError: it is not allowed."""
        return value

    def show(self, value: object) -> str:
        """Return `value` as a table or a user's command line writes it."""
        return str(value)


@dataclass(frozen=True)
class Number(Checker):
    """A number in `low..high`, with `math.inf` allowed where `high` is; whole numbers only unless `fractions`."""

    low: int
    high: float
    unit: str = ""
    fractions: bool = False
    refused: Mapping[object, str] = field(default_factory=dict)

    @property
    def allowed(self) -> str:
        """The range, with its unit."""
        top = "inf" if math.isinf(self.high) else self.show(self.high)
        return f"{self.show(self.low)}..{top} {self.unit}".rstrip()

    def read(self, text: str) -> object:
        """Return the number that `text` is written as."""
        try:
            return int(text)
        except ValueError:
            pass
        try:
            return float(text)
        except ValueError:
            raise UnfitError(f"is not a number; {self.allowed} is allowed") from None

    def check(self, value: object) -> int | float:
        """Return the number. NaN, a bool, a fraction where none is allowed, or out of range is unfit."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UnfitError(f"must be a number, not {type(value).__name__}; {self.allowed} is allowed")
        if value in self.refused:
            raise UnfitError(self.refused[value])
        if math.isnan(value) or not self.low <= value <= self.high:
            raise UnfitError(f"is out of range; {self.allowed} is allowed")
        if isinstance(value, int) or math.isinf(value):
            return value
        if value.is_integer():
            return int(value)
        if not self.fractions:
            raise UnfitError(f"must be a whole number; {self.allowed} is allowed")
        return value


@dataclass(frozen=True)
class ByteCount(Number):
    """A number of bytes; as text also "16MiB", "1.5 GiB", "500kB"."""

    unit: str = "bytes"

    def read(self, text: str) -> object:
        """Return the number of bytes that `text` is written as."""
        match = re.fullmatch(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
        if match is None or match[2] not in _BYTE_UNITS:
            raise UnfitError(f"is not a number of bytes such as 1048576 or '1MiB'; {self.allowed} is allowed")
        return float(match[1]) * _BYTE_UNITS[match[2]] if "." in match[1] else int(match[1]) * _BYTE_UNITS[match[2]]

    def show(self, value: object) -> str:
        """Return the number, as "16MiB" where that is exact."""
        for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
            if isinstance(value, int) and value and value % unit == 0:
                return f"{value // unit}{name}"
        return str(value)


@dataclass(frozen=True)
class Boolean(Checker):
    """True or False; as text "true" or "false" in any case, as Kafka has it."""

    @property
    def allowed(self) -> str:
        """Both values."""
        return "true, false"

    def read(self, text: str) -> object:
        """Return the truth value that `text` is written as."""
        values = {"true": True, "false": False}
        if text.strip().lower() not in values:
            raise UnfitError("must be true or false")
        return values[text.strip().lower()]

    def check(self, value: object) -> bool:
        """Return the truth value; numbers do not stand for one."""
        if not isinstance(value, bool):
            raise UnfitError(f"must be True or False, not {type(value).__name__}")
        return value

    def show(self, value: object) -> str:
        """Return "true" or "false"."""
        return str(value).lower()


@dataclass(frozen=True)
class Choice(Checker):
    """One of a few values. `meaning` gives what each is held as; `refused` says why some known ones are not here."""

    meaning: Mapping[object, object]
    refused: Mapping[object, str] = field(default_factory=dict)

    @property
    def allowed(self) -> str:
        """The values."""
        return ", ".join(str(each) for each in self.meaning)

    def check(self, value: object) -> object:
        """Return what the value is held as."""
        if isinstance(value, bool) or not isinstance(value, (str, int, type(None))):
            raise UnfitError(f"must be one of {self.allowed}, not {type(value).__name__}")
        if value in self.refused:
            raise UnfitError(self.refused[value])
        if value not in self.meaning:
            raise UnfitError(f"must be one of {self.allowed}")
        return self.meaning[value]


@dataclass(frozen=True)
class Text(Checker):
    """Text, or None where `optional`."""

    optional: bool = False

    @property
    def allowed(self) -> str:
        """Text, or None too."""
        return "text or None" if self.optional else "text"

    def check(self, value: object) -> str | None:
        """Return the text."""
        if value is None and self.optional:
            return None
        if not isinstance(value, str):
            raise UnfitError(f"must be text, not {type(value).__name__}")
        return value


@dataclass(frozen=True)
class CallableOr(Checker):
    """None, a callable, or an object with a method of this name."""

    method: str

    @property
    def allowed(self) -> str:
        """What it may be."""
        return f"None, a callable, or an object with .{self.method}()"

    def check(self, value: object) -> object:
        """Return the object."""
        if value is None or callable(value) or callable(getattr(value, self.method, None)):
            return value
        raise UnfitError(f"must be {self.allowed}, not {type(value).__name__}")


def shown(value: object) -> str:
    """Return a value as text for a message, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def checked_timeout_ms(value: object, name: str = "timeout_ms") -> float:
    """Return a timeout that a method was given: a number of milliseconds of 0 or more, `math.inf` allowed.

    Raises:
        TypeError: it is no number.
        IllegalArgumentError: it is negative or NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of milliseconds, not {type(value).__name__}")
    if math.isnan(value) or value < 0:
        raise IllegalArgumentError(f"{name}={value!r}: must be 0 or more milliseconds (0 does not wait)")
    return value
