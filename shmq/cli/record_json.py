"""Records as lines of JSON, the same in both directions, so that `consume --json | produce --json` loses nothing.

Owns: the form: {"key", "value", "headers": [[name, value], ...], "partition", "timestamp"}, where bytes that are UTF-8 are
a string, other bytes {"base64": "..."}, and nothing null. `consume` adds "topic" and "offset".
Must never: guess: a field that does not exist, or is of another kind, is an error.
Sits: pure functions under `produce` and `consume`.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from shmq._native import ConsumerRecord

from .lines import Header, Record

_FIELDS = ("key", "value", "headers", "partition", "timestamp", "topic", "offset")
_MAX_PARTITION = 2**31 - 1
_MAX_TIMESTAMP_MS = 2**63 - 1


def record_to_json(record: ConsumerRecord) -> bytes:
    """Return a record as one line, without its end."""
    fields = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": _to_json(record.key),
        "value": _to_json(record.value),
        "headers": [[name, _to_json(value)] for name, value in record.headers],
    }
    return json.dumps(fields, ensure_ascii=False).encode()


def record_from_json(line: bytes, default: Record) -> Record:
    """Return the record that a line stands for. "topic" and "offset" are ignored.

    Args:
        line: One JSON object.
        default: Gives the fields that the line leaves out.

    Raises:
        ValueError: it is not JSON, or not of the form above; the message says where.
    """
    try:
        fields = json.loads(line)
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ValueError(f"a JSON object is wanted, not {_kind(fields)}")
    unknown = sorted(fields.keys() - set(_FIELDS))
    if unknown:
        raise ValueError(f"there is no field {unknown[0]!r}; the fields are {', '.join(_FIELDS)}")
    return Record(
        value=_from_json(fields["value"], "value") if "value" in fields else default.value,
        key=_from_json(fields["key"], "key") if "key" in fields else default.key,
        headers=_headers(fields["headers"]) if "headers" in fields else default.headers,
        partition=_number(fields, "partition", default.partition, _MAX_PARTITION),
        timestamp_ms=_number(fields, "timestamp", default.timestamp_ms, _MAX_TIMESTAMP_MS),
    )


def _to_json(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _from_json(given: Any, field: str) -> bytes | None:
    if given is None:
        return None
    try:
        if isinstance(given, str):
            return given.encode()
        if isinstance(given, dict) and given.keys() == {"base64"} and isinstance(given["base64"], str):
            return base64.b64decode(given["base64"], validate=True)
    except ValueError as error:  # half a surrogate pair; characters that are not base64
        raise ValueError(f"{field}: {error}") from None
    raise ValueError(f'{field}: a string, null or {{"base64": "..."}} is wanted, not {_kind(given)}')


def _headers(given: Any) -> list[Header]:
    if given is None:
        return []
    pairs = list(given.items()) if isinstance(given, dict) else given
    if not isinstance(pairs, list):
        raise ValueError(f"headers: a list of [name, value], or an object, is wanted, not {_kind(given)}")
    headers = []
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ValueError(f"headers: [name, value] is wanted, not {json.dumps(pair)}")
        name, value = pair
        headers.append((name, _from_json(value, f"header {name!r}")))
        _from_json(name, "a header's name")
    return headers


def _number(fields: dict[str, Any], field: str, default: int | None, most: int) -> int | None:
    given = fields.get(field, default)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= most:
        raise ValueError(f"{field}: a whole number of 0 to {most} is wanted, not {json.dumps(given)}")
    return given


def _kind(given: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(given), "a number")
