"""`shmq consume`: records become lines on stdout.

Owns: where to begin, when to end, and how a record is written.
Must never: hold a record back once it was read.
Sits: over `Consumer`.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator

import click

from shmq import Consumer, ConsumerRecord, TopicPartition
from shmq.cli.output import record_line
from shmq.errors import OffsetOutOfRangeError, UnknownTopicOrPartitionError


@click.command()
@click.argument("topic")
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest record; the default without --follow.")
@click.option("--follow", is_flag=True, help="Wait for more records, until Ctrl-C.")
@click.option(
    "--partition", "partitions", type=int, multiple=True, help="Only this partition; may be given several times."
)
@click.option("--offset", type=click.IntRange(min=0), help="Begin with this offset; needs one --partition.")
@click.option(
    "--since", "since_ms", type=click.IntRange(min=0), metavar="MS", help="Begin at this time, in ms since 1970."
)
@click.option("--max-messages", type=click.IntRange(min=1), metavar="N", help="End after N records.")
@click.option("--timeout-ms", type=click.FloatRange(min=0), help="With --follow: end when nothing came for so long.")
@click.option("--json", "as_json", is_flag=True, help="Print each record as a line of JSON, with all its fields.")
@click.option("--print-key", is_flag=True, help="Print the key before the value.")
@click.option("--print-offset", is_flag=True, help="Print partition and offset before the value.")
@click.option("--key-separator", default="\t", metavar="TEXT", help="What stands between them; a tab by default.")
@click.pass_obj
def consume(
    broker: str | None,
    topic: str,
    from_beginning: bool,
    follow: bool,
    partitions: tuple[int, ...],
    offset: int | None,
    since_ms: int | None,
    max_messages: int | None,
    timeout_ms: float | None,
    as_json: bool,
    print_key: bool,
    print_offset: bool,
    key_separator: str,
) -> None:
    """Print the records of TOPIC.

    Without --follow: those that are there now, then it ends. With --follow: those that come from now on; add
    --from-beginning, --offset or --since for older ones too.
    """
    if offset is not None and len(set(partitions)) != 1:
        raise click.UsageError("--offset needs exactly one --partition")
    if from_beginning + (offset is not None) + (since_ms is not None) > 1:
        raise click.UsageError("give only one of --from-beginning, --offset and --since")
    if timeout_ms is not None and not follow:
        raise click.UsageError("--timeout-ms needs --follow; without it, consume never waits for records to come")
    reset = "earliest" if from_beginning or not follow else "latest"
    with Consumer(bootstrap_servers=broker, auto_offset_reset=reset, allow_auto_create_topics=False) as consumer:
        places = _places(consumer, topic, partitions)
        consumer.assign(places)
        if offset is not None:
            _seek_to_offset(consumer, places[0], offset)
        if since_ms is not None:
            _seek_to_time(consumer, places, since_ms)
        records = _followed(consumer, timeout_ms) if follow else _present(consumer, places)
        separator = os.fsencode(key_separator)
        for count, record in enumerate(records, 1):
            if as_json:
                sys.stdout.buffer.write(record_line(record).encode() + b"\n")
            else:
                sys.stdout.buffer.write(_plain(record, separator, print_key, print_offset))
            if count == max_messages:
                break


def _places(consumer: Consumer, topic: str, partitions: tuple[int, ...]) -> list[TopicPartition]:
    numbers = consumer.partitions_for_topic(topic)
    if numbers is None:
        raise UnknownTopicOrPartitionError(topic)
    return [TopicPartition(topic, number) for number in partitions or sorted(numbers)]


def _seek_to_offset(consumer: Consumer, place: TopicPartition, offset: int) -> None:
    begin, end = consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]
    if not begin <= offset <= end:
        raise OffsetOutOfRangeError(*place, offset, begin, end)
    consumer.seek(place, offset)


def _seek_to_time(consumer: Consumer, places: list[TopicPartition], since_ms: int) -> None:
    found = consumer.offsets_for_times(dict.fromkeys(places, since_ms))
    for place, at in found.items():
        if at is None:
            consumer.seek_to_end(place)
        else:
            consumer.seek(place, at.offset)


def _present(consumer: Consumer, places: list[TopicPartition]) -> Iterator[ConsumerRecord]:
    """The records up to what is the end now."""
    ends = consumer.end_offsets(places)
    while places := [place for place in places if consumer.position(place) < ends[place]]:
        consumer.assign(places)
        # Not for ever: what lies before the end may turn out to have been undone.
        for place, records in consumer.poll(timeout_ms=100).items():
            yield from (record for record in records if record.offset < ends[place])


def _followed(consumer: Consumer, timeout_ms: float | None) -> Iterator[ConsumerRecord]:
    while batch := consumer.poll(timeout_ms=math.inf if timeout_ms is None else timeout_ms):
        for records in batch.values():
            yield from records
        sys.stdout.flush()


def _plain(record: ConsumerRecord, separator: bytes, print_key: bool, print_offset: bool) -> bytes:
    parts = [b"%d:%d" % (record.partition, record.offset)] if print_offset else []
    if print_key:
        parts.append(b"" if record.key is None else record.key)
    parts.append(b"" if record.value is None else record.value)
    return separator.join(parts) + b"\n"
