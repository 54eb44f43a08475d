"""Records out of plain lines.

Owns: where a line ends, and how it is split into key and value.
Must never: decode anything; lines are bytes.
Sits: pure functions under `produce`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Header: TypeAlias = tuple[str, bytes | None]


class Record(NamedTuple):
    """What `Producer.send` takes, less the topic."""

    value: bytes | None = None
    key: bytes | None = None
    headers: list[Header] = []  # noqa: RUF012  # nobody changes it
    partition: int | None = None
    timestamp_ms: int | None = None


def record_from_line(line: bytes, default: Record, key_separator: bytes | None, null_marker: bytes | None) -> Record:
    """Return the record that a line stands for.

    Args:
        line: Without its end.
        default: Gives everything but the value, and the key where there is no separator.
        key_separator: Stands between key and value; None where lines are values alone.
        null_marker: A key or value of exactly this is none; None where there is no such thing.

    Raises:
        ValueError: there is no separator in the line.
    """
    if key_separator is None:
        return default._replace(value=_unless_null(line, null_marker))
    key, found, value = line.partition(key_separator)
    if not found:
        raise ValueError(f"no key separator {key_separator!r} in it")
    return default._replace(key=_unless_null(key, null_marker), value=_unless_null(value, null_marker))


def _unless_null(data: bytes, null_marker: bytes | None) -> bytes | None:
    return None if data == null_marker else data
