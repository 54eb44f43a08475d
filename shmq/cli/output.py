"""Records and tables as text.

Owns: how bytes become JSON and come back, and printing tables.
Must never: lose a byte: what is not UTF-8 goes as base64.
Sits: under the commands.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from shmq import ConsumerRecord


def to_json(data: bytes | None) -> str | dict[str, str] | None:
    """Return bytes as text, or as {"base64": text} where they are not UTF-8."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def from_json(data: Any) -> bytes | None:
    """Return the bytes that `to_json` made this of. Raises: ValueError: it made nothing of this form."""
    if data is None:
        return None
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, dict) and list(data) == ["base64"] and isinstance(data["base64"], str):
        try:
            return base64.b64decode(data["base64"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"no base64: {error}") from None
    raise ValueError(f'must be text, null or {{"base64": text}}, not {json.dumps(data)[:60]}')


def record_line(record: ConsumerRecord) -> str:
    """Return a record as one line of JSON."""
    return json.dumps(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp,
            "key": to_json(record.key),
            "value": to_json(record.value),
            "headers": [[name, to_json(value)] for name, value in record.headers],
        },
        ensure_ascii=False,
    )


def counted(number: int, what: str) -> str:
    """Return "1 record", or "2 records"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def print_table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    """Print rows; columns whose head ends in a space are aligned to the right."""
    from rich.console import Console  # a tenth of a second that only tables need
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for head in heads:
        table.add_column(head.strip(), justify="right" if head.endswith(" ") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
