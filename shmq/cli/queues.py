"""`shmq queues`: list, peek, purge, replay.

Owns: the words and tables of these commands, and what is taken to purge or to replay.
Must never: take a record from a group for looking at it, or count one as done that was not sent on.
Sits: over `Admin` and `ShareConsumer`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from shmq import AcknowledgeType, Admin, Consumer, ConsumerRecord, Producer, ShareConsumer, TopicPartition
from shmq.cli.output import counted, print_table, record_line
from shmq.errors import IllegalStateError
from shmq.share.dead_letters import split_headers

_REPLAYERS = "shmq-replay"
_HEADS = ("ready", "in_flight", "delayed", "accepted", "rejected", "skipped", "lag")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def queues() -> None:
    """Look after share groups and queues: list, peek, purge, replay dead letters."""


@queues.command("list")
@_as_json
@click.pass_obj
def list_queues(broker: str | None, as_json: bool) -> None:
    """List what share groups and named queues have to do, have in work and have done, topic by topic."""
    with Admin(bootstrap_servers=broker) as admin:
        names = [each["group_id"] for each in admin.list_share_groups()]
        groups = admin.describe_share_groups(names)
        named = admin.list_queues()
    rows = [row for name, group in groups.items() for row in _rows(name, group)]
    for each in named:
        rows.append({"group": None, "topic": each["queue"], **{head: each[head] for head in _HEADS}, "consumers": None})
    if as_json:
        click.echo(json.dumps(rows))
        return
    print_table(
        f"{counted(len(groups), 'share group')}, {counted(len(named), 'queue')}",
        ["group", "topic or queue", *(f"{head.replace('_', ' ')} " for head in _HEADS[:5]), "consumers "],
        [
            [
                row["group"] or "-",
                row["topic"],
                *(f"{row[head]:,}" for head in _HEADS[:5]),
                "-" if row["consumers"] is None else str(row["consumers"]),
            ]
            for row in rows
        ],
    )


def _rows(name: str, group: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each topic that a group has read or reads."""
    members = group["members"]
    topics = {each["topic"] for each in group["offsets"]} | {topic for each in members for topic in each["topics"]}
    rows = []
    for topic in sorted(topics):
        places = [each for each in group["offsets"] if each["topic"] == topic]
        sums = {head: sum(place[head] for place in places) for head in _HEADS}
        consumers = sum(topic in each["topics"] for each in members)
        rows.append({"group": name, "topic": topic, **sums, "consumers": consumers})
    return rows


@queues.command()
@click.argument("group")
@click.argument("topic")
@click.option("--max-messages", type=click.IntRange(min=1), default=10, show_default=True, help="End after so many.")
@_as_json
@click.pass_obj
def peek(broker: str | None, group: str, topic: str, max_messages: int, as_json: bool) -> None:
    """Show the first records of TOPIC that a share group has not done, without taking them.

    Of each: partition, offset, state, deliveries so far, value.
    """
    count = 0
    with (
        Admin(bootstrap_servers=broker) as admin,
        Consumer(bootstrap_servers=broker, auto_offset_reset="earliest", allow_auto_create_topics=False) as consumer,
    ):
        for place, counts in _places(admin, group, topic).items():
            for records in _read(consumer, place, counts["start_offset"], counts["end_offset"]):
                standings = admin.describe_share_records(group, {place: [each.offset for each in records]})[place]
                undone = [each for each in records if standings[each.offset]["state"] != "done"]
                for record in undone[: max_messages - count]:
                    click.echo(_shown(record, standings[record.offset], as_json))
                count += len(undone)
                if count >= max_messages:
                    return


def _shown(record: ConsumerRecord, standing: dict[str, Any], as_json: bool) -> bytes:
    if as_json:
        return json.dumps(json.loads(record_line(record)) | standing, ensure_ascii=False).encode()
    head = f"{record.partition}:{record.offset}\t{standing['state']}\t{standing['delivery_count']}\t"
    return head.encode() + (record.value or b"")


def _read(consumer: Consumer, place: TopicPartition, start: int, end: int) -> Iterator[list[ConsumerRecord]]:
    """The records of a partition from one offset to another, as far as they are there."""
    consumer.assign([place])
    consumer.seek(place, start)
    # Not for ever: what lies before the end may turn out to have been undone.
    while consumer.position(place) < end and (batches := consumer.poll(timeout_ms=100)):
        yield [record for record in batches[place] if record.offset < end]


@queues.command()
@click.argument("group")
@click.argument("topic")
@click.pass_obj
def purge(broker: str | None, group: str, topic: str) -> None:
    """Reject all that is ready in TOPIC for a share group; it goes to no dead letters.

    What is in work, or was released for later, stays.
    """
    with Admin(bootstrap_servers=broker) as admin:
        ends = {place: each["end_offset"] for place, each in _places(admin, group, topic).items()}
        configs = {"bootstrap_servers": broker, "group_id": group, "share_acknowledgement_mode": "explicit"}
        with ShareConsumer(topic, **configs, allow_auto_create_topics=False, delivery_count_limit=100) as consumer:
            count = sum(_reject(consumer, batches) for batches in _present(consumer, ends))
        left = _places(admin, group, topic).values()
    click.echo(f"purged {counted(count, 'record')} of {topic} for share group {group}")
    for name, words in (("in_flight", "in work"), ("delayed", "released for later")):
        if number := sum(each[name] for each in left):
            click.echo(f"{counted(number, 'record')} {words}: left alone")


def _reject(consumer: ShareConsumer, records: list[ConsumerRecord]) -> int:
    for record in records:
        consumer.acknowledge(record, AcknowledgeType.REJECT, reason="purged")
    consumer.commit_sync()
    return len(records)


@queues.command()
@click.argument("dead_letters", metavar="TOPIC")
@click.option("--to", "target", metavar="TOPIC", help="Send all of them there, also those whose origin is not known.")
@click.option(
    "--group", default=_REPLAYERS, show_default=True, help="The share group that remembers what was replayed."
)
@click.option("--max-messages", type=click.IntRange(min=1), metavar="N", help="End after N records.")
@click.pass_obj
def replay(broker: str | None, dead_letters: str, target: str | None, group: str, max_messages: int | None) -> None:
    """Send the dead letters in TOPIC back to where they came from, each once, without the headers of their death.

    They go to the topic and partition that their headers name; all groups that read it see them again.
    """
    configs = {"bootstrap_servers": broker, "group_id": group, "share_acknowledgement_mode": "explicit"}
    sent: dict[str, int] = {}
    unknown = 0
    with (
        Admin(bootstrap_servers=broker) as admin,
        Producer(bootstrap_servers=broker, allow_auto_create_topics=False, max_request_size=2**31 - 1) as producer,
        ShareConsumer(dead_letters, **configs, allow_auto_create_topics=False, delivery_count_limit=100) as consumer,
    ):
        ends = {place: each["end_offset"] for place, each in _places(admin, group, dead_letters).items()}
        for [record] in _present(consumer, ends, most=1):
            headers, origin = split_headers(record.headers)
            where = target or (None if origin is None else origin.topic)
            if where is None:
                unknown += 1
                consumer.acknowledge(record, AcknowledgeType.RENEW)  # it stays until the end, and is released then
                continue
            is_there = origin and not target and origin.partition in producer.partitions_for(where)
            partition = origin.partition if origin and is_there else None
            producer.send(where, record.value, record.key, headers, partition)
            consumer.acknowledge(record)
            consumer.commit_sync()
            sent[where] = sent.get(where, 0) + 1
            if sum(sent.values()) == max_messages:
                break
    for where, count in sorted(sent.items()):
        click.echo(f"sent {counted(count, 'record')} to {where}")
    if not sent:
        click.echo("nothing to send")
    if unknown:
        click.echo(f"{counted(unknown, 'record')} without headers that say where from: --to sends them", err=True)


def _places(admin: Admin, group: str, topic: str) -> dict[TopicPartition, dict[str, int]]:
    """Where a group stands in a topic. Raises: GroupIdNotFoundError; IllegalStateError: it never read this topic."""
    found = admin.list_share_group_offsets(group)[group]
    places = {place: each for place, each in found.items() if place.topic == topic}
    if not places:
        known = sorted({place.topic for place in found})
        raise IllegalStateError(f"share group {group!r} has not read {topic}; it reads {', '.join(known) or 'nothing'}")
    return places


def _present(
    consumer: ShareConsumer, ends: dict[TopicPartition, int], most: int | None = None
) -> Iterator[list[ConsumerRecord]]:
    """What is ready and was there when we began; what came later is given back."""
    while batches := consumer.poll(max_records=most):
        old = []
        for place, records in batches.items():
            for record in records:
                if record.offset < ends.get(place, 0):
                    old.append(record)
                else:
                    consumer.acknowledge(record, AcknowledgeType.RELEASE)
        if not old:
            return
        yield old
