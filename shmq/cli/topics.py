"""`shmq topics`: create, list, describe, alter, delete, delete-records.

Owns: the words and tables of these commands.
Must never: decide anything that `Admin` decides.
Sits: over `Admin`.
"""

from __future__ import annotations

import json
from typing import Any

import click

from shmq import Admin, ConfigResource, ConfigResourceType, TopicPartition
from shmq.cli.output import counted, print_table
from shmq.config.topic import TOPIC_OPTIONS
from shmq.errors import TopicAlreadyExistsError


def _option_list() -> str:
    names = max(map(len, TOPIC_OPTIONS))
    lines = [
        f"  {name:{names}}  {each.default_text or each.checker.show(each.default)}  ({each.checker.allowed})"
        for name, each in TOPIC_OPTIONS.items()
    ]
    return "\n".join(["\b", "Topic options, their defaults, and what is allowed (meanings: README):", *lines])


_NO_LARGE_PAGES = "; /dev/shm gives them if it is mounted with huge=within_size or huge=always"
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_configs = click.option(
    "--config", "configs", multiple=True, metavar="NAME=VALUE", help="A topic option; may be given several times."
)


@click.group()
def topics() -> None:
    """Create, list, describe, alter and delete topics, and delete their records."""


@topics.command(epilog=_option_list())
@click.argument("name")
@click.option("--partitions", type=click.IntRange(min=1), default=1, show_default=True, help="How many.")
@click.option("--replication-factor", type=int, default=1, show_default=True, help="1: there are no replicas yet.")
@click.option("--if-not-exists", is_flag=True, help="It is no error if the topic exists.")
@_configs
@click.pass_obj
def create(
    broker: str | None,
    name: str,
    partitions: int,
    replication_factor: int,
    if_not_exists: bool,
    configs: tuple[str, ...],
) -> None:
    """Create a topic."""
    request = {"num_partitions": partitions, "replication_factor": replication_factor, "configs": _pairs(configs)}
    with Admin(bootstrap_servers=broker) as admin:
        try:
            admin.create_topics({name: request})
        except TopicAlreadyExistsError:
            if not if_not_exists:
                raise
            click.echo(f"topic {name} exists")
            return
    click.echo(f"created topic {name} with {counted(partitions, 'partition')}")


@topics.command("list")
@_as_json
@click.pass_obj
def list_topics(broker: str | None, as_json: bool) -> None:
    """List the names of all topics."""
    with Admin(bootstrap_servers=broker) as admin:
        names = admin.list_topics()
    if as_json:
        click.echo(json.dumps(names))
    else:
        for name in names:
            click.echo(name)


@topics.command(short_help="Show partitions, offsets, sizes and options.")
@click.argument("names", nargs=-1)
@_as_json
@click.pass_obj
def describe(broker: str | None, names: tuple[str, ...], as_json: bool) -> int:
    """Show partitions, offsets, sizes and options of topics, all by default."""
    with Admin(bootstrap_servers=broker) as admin:
        described = admin.describe_topics(names or None)
        damaged = [each for each in described if each["error_code"]]
        described = [each for each in described if not each["error_code"]]
        for each in described:
            each["configs"] = _options(admin, each["name"])
    if as_json:
        click.echo(json.dumps(described, default=str, indent=2))
    else:
        for each in described:
            _print_topic(each)
    for each in damaged:
        click.echo(f"shmq: error: {each['error_message']}", err=True)
    return 1 if damaged else 0


@topics.command(epilog=_option_list(), short_help="Change options, or add partitions.")
@click.argument("name")
@_configs
@click.option("--reset", "resets", multiple=True, metavar="NAME", help="An option that shall have its default again.")
@click.option("--partitions", type=click.IntRange(min=1), help="Have this many; only more are possible.")
@click.pass_obj
def alter(
    broker: str | None, name: str, configs: tuple[str, ...], resets: tuple[str, ...], partitions: int | None
) -> None:
    """Change the options of a topic, or give it more partitions; processes that use it follow at once."""
    changes: dict[str, Any] = {option: ("SET", value) for option, value in _pairs(configs).items()}
    for option in resets:
        if option in changes:
            raise click.UsageError(f"{option!r} is both set and reset")
        changes[option] = ("DELETE", None)
    if not changes and partitions is None:
        raise click.UsageError("nothing to change: give --config, --reset or --partitions")
    with Admin(bootstrap_servers=broker) as admin:
        if changes:
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, changes)])
        if partitions is not None:
            admin.create_partitions({name: partitions})
    click.echo(f"altered topic {name}")


@topics.command()
@click.argument("names", nargs=-1, required=True)
@click.pass_obj
def delete(broker: str | None, names: tuple[str, ...]) -> int:
    """Delete topics with all their records."""
    with Admin(bootstrap_servers=broker) as admin:
        results = admin.delete_topics(names, raise_errors=False)["topics"]
    for each in results:
        if each["error_code"]:
            click.echo(f"shmq: error: {each['error_message']}", err=True)
        else:
            click.echo(f"deleted topic {each['name']}")
    return 1 if any(each["error_code"] for each in results) else 0


@topics.command("delete-records")
@click.argument("name", metavar="TOPIC")
@click.option("--partition", type=int, help="Of this partition; default: of each, which needs --all.")
@click.option("--before", type=click.IntRange(min=0), metavar="OFFSET", help="Delete the records below this offset.")
@click.option("--all", "everything", is_flag=True, help="Delete all records that there are now.")
@click.pass_obj
def delete_records(broker: str | None, name: str, partition: int | None, before: int | None, everything: bool) -> None:
    """Delete the oldest records of a topic, whoever has not read them."""
    if everything == (before is not None):
        raise click.UsageError("give either --before OFFSET or --all")
    if before is not None and partition is None:
        raise click.UsageError("--before OFFSET needs --partition: each partition has offsets of its own")
    with Admin(bootstrap_servers=broker) as admin:
        if partition is not None:
            numbers = [partition]
        else:
            [topic] = admin.describe_topics([name])
            numbers = [each["partition_index"] for each in topic["partitions"]] or [0]  # none: the error is to come
        offset = -1 if before is None else before
        deleted = admin.delete_records({TopicPartition(name, number): offset for number in numbers})
    for place, result in deleted.items():
        click.echo(f"{place.topic}-{place.partition}: the first offset is {result['low_watermark']}")


def _pairs(configs: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for each in configs:
        name, equals, value = (part.strip() for part in each.partition("="))
        if not equals or not name:
            raise click.BadParameter(f"{each!r} is not NAME=VALUE", param_hint="--config")
        if name in pairs:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--config")
        pairs[name] = value
    return pairs


def _options(admin: Admin, name: str) -> dict[str, str]:
    found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)], config_filter="all")
    return {option: described["value"] for option, described in found["topic"][name].items()}


def _print_topic(topic: dict[str, Any]) -> None:
    rows = [
        [
            str(each["partition_index"]),
            f"{each['beginning_offset']:,}",
            f"{each['end_offset']:,}",
            f"{each['end_offset'] - each['beginning_offset']:,}",
            str(each["segments"]),
            f"{each['bytes']:,}",
        ]
        for each in topic["partitions"]
    ]
    print_table(
        f"{topic['name']}  ({topic['topic_id']})",
        ["partition ", "first offset ", "end offset ", "records ", "segments ", "bytes "],
        rows,
    )
    on_large_pages = [each["large_page_bytes"] for each in topic["partitions"]]
    if None not in on_large_pages:
        total, large = sum(each["bytes"] for each in topic["partitions"]), sum(on_large_pages)
        click.echo(f"  on large pages: {large:,} of {total:,} bytes" + (_NO_LARGE_PAGES if total and not large else ""))
    click.echo("  " + "  ".join(f"{name}={value}" for name, value in topic["configs"].items() if value))
