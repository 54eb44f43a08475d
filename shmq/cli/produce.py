"""`shmq produce`: lines on stdin become records.

Owns: reading lines, and saying which one was wrong.
Must never: change a byte of a value, or go on after a line that could not be sent.
Sits: over `Producer`.
"""

from __future__ import annotations

import json
import os
from typing import IO, Any

import click

from shmq import Producer
from shmq.cli.output import counted, from_json
from shmq.errors import ShmqError

LARGEST_RECORD_BYTES = 2**31 - 1
_FIELDS = {"key", "value", "headers", "partition", "timestamp", "topic", "offset"}


@click.command()
@click.argument("topic")
@click.option("--file", "source", type=click.File("rb"), default="-", help="Read from a file instead of stdin.")
@click.option("--key-separator", metavar="TEXT", help="What stands before TEXT in a line is the record's key.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="A header for every record.")
@click.option("--partition", type=int, help="Send everything to this partition.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='Each line is an object with "value" and perhaps "key", "headers" ([[name, value]]), "partition" and '
    '"timestamp"; bytes are text or {"base64": text}. "topic" and "offset" are passed over, so that what '
    "`consume --json` prints can be sent again.",
)
@click.option("--create/--no-create", default=True, help="Whether to create a topic that does not exist.")
@click.option("--quiet", is_flag=True, help="Do not print how many records were sent.")
@click.pass_obj
def produce(
    broker: str | None,
    topic: str,
    source: IO[bytes],
    key_separator: str | None,
    headers: tuple[str, ...],
    partition: int | None,
    as_json: bool,
    create: bool,
    quiet: bool,
) -> None:
    """Send each line of the input to TOPIC as a record. A line is in the log before the next one is read."""
    if as_json and key_separator is not None:
        raise click.UsageError("--json has the keys in its lines: leave --key-separator out")
    if key_separator == "":
        raise click.BadParameter("it is empty", param_hint="--key-separator")
    shared = [_header(each) for each in headers]
    sent = 0
    # The topic's own limit is the one that counts.
    with Producer(
        bootstrap_servers=broker, allow_auto_create_topics=create, max_request_size=LARGEST_RECORD_BYTES
    ) as producer:
        producer.partitions_for(topic)
        try:
            for line in source:
                record = _from_object(line) if as_json else _from_line(line, key_separator)
                record["headers"] = shared + record.get("headers", [])
                if partition is not None:
                    record["partition"] = partition
                producer.send(topic, **record)
                sent += 1
        except (ShmqError, ValueError, TypeError, RecursionError) as error:
            before = "; the lines before it were sent" if sent else ""
            raise click.ClickException(f"line {sent + 1}: {error}{before}") from error
    if not quiet:
        click.echo(f"{counted(sent, 'record')} sent to {topic}", err=True)


def _header(text: str) -> tuple[str, bytes]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--header")
    return name, os.fsencode(value)


def _from_line(line: bytes, key_separator: str | None) -> dict[str, Any]:
    value = line.removesuffix(b"\n")
    if key_separator is None:
        return {"value": value}
    key, found, rest = value.partition(os.fsencode(key_separator))
    if not found:
        raise ValueError(f"the key separator {key_separator!r} is not in it")
    return {"key": key, "value": rest}


def _from_object(line: bytes) -> dict[str, Any]:
    try:
        given = json.loads(line.decode())  # decoded here: it would take UTF-16 for JSON too
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    if not isinstance(given, dict):
        raise ValueError(f"must be a JSON object, not {type(given).__name__}")
    unknown = given.keys() - _FIELDS
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}; there are {', '.join(sorted(_FIELDS))}")
    headers = given.get("headers") or []
    if not isinstance(headers, list) or any(not isinstance(each, list) or len(each) != 2 for each in headers):
        raise ValueError("headers must be a list of [name, value]")
    return {
        "key": from_json(given.get("key")),
        "value": from_json(given.get("value")),
        "headers": [(name, from_json(value)) for name, value in headers],
        "partition": given.get("partition"),
        "timestamp_ms": given.get("timestamp"),
    }
