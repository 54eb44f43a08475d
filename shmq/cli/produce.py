"""`shmq produce`: records from stdin, or from files.

Owns: its options, and telling which input an error belongs to.
Must never: hold a line back: what was read is in the log before the next line is read.
Sits: over `shmq.producer`; `lines` and `record_json` parse.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from shmq.errors import ShmqError
from shmq.producer import Producer

from .failures import CommandError
from .lines import Header, Record, record_from_line
from .options import Escaped, Pair, broker_option, check_broker
from .record_json import record_from_json

_NO_LIMIT_BYTES = 2**31 - 1  # the topic's own max_message_bytes holds
_DEFAULT = Record()


@click.command()
@click.argument("topic", metavar="TOPIC")
@click.option("--key", metavar="TEXT", help="The key of every record.")
@click.option("--key-separator", type=Escaped(), help=r"Each line is KEY, this, VALUE; \t is a tab.")
@click.option("--header", "headers", type=Pair(), multiple=True, help="A header of every record; repeatable.")
@click.option("--partition", type=click.IntRange(0, 2**31 - 1), help="The partition; else the key decides.")
@click.option("--null-marker", type=Escaped(), help="A key or value of exactly this is none (a tombstone).")
@click.option("--json", "as_json", is_flag=True, help="Each line is a JSON object; see above.")
@click.option(
    "--file",
    "files",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    multiple=True,
    help="Send the content of this file as one record, and read no lines; repeatable.",
)
@broker_option
def produce(
    topic: str,
    key: str | None,
    key_separator: bytes | None,
    headers: tuple[tuple[str, str], ...],
    partition: int | None,
    null_marker: bytes | None,
    as_json: bool,
    files: tuple[Path, ...],
    broker: str | None,
) -> None:
    """Append a record per line of stdin to a topic that exists.

    Lines are taken as bytes, without their newline. With --json each line is an object with "value", "key", "headers"
    ([[name, value], ...] or an object), "partition" and "timestamp" (ms), all optional, as `shmq consume --json` prints
    them; bytes that are not UTF-8 are {"base64": "..."}. What a line leaves out, --key, --header and --partition give.

    A line is in the log before the next one is read. At a line that cannot be sent it stops, and says which.
    """
    if (as_json or files) and (key_separator is not None or null_marker is not None):
        raise click.UsageError("--key-separator and --null-marker are for plain lines, not for --json or --file.")
    if as_json and files:
        raise click.UsageError("--json is for lines, not for --file.")
    if key is not None and key_separator is not None:
        raise click.UsageError("Give --key or --key-separator, not both.")
    if key_separator == b"":
        raise click.BadParameter("must not be empty.", param_hint="--key-separator")
    default = Record(None, None if key is None else os.fsencode(key), _encoded(headers), partition)
    check_broker(broker)
    with Producer(
        bootstrap_servers=broker, allow_auto_create_topics=False, max_request_size=_NO_LIMIT_BYTES
    ) as producer:
        producer.partitions_for(topic)  # an unknown topic is an error before anything is read
        if files:
            _send_all(producer, topic, ((str(each), each.read_bytes()) for each in files), _values(default))
        elif as_json:
            _send_all(producer, topic, _lines(), lambda line: record_from_json(line, default))
        else:
            parse = lambda line: record_from_line(line, default, key_separator, null_marker)  # noqa: E731
            _send_all(producer, topic, _lines(), parse)
