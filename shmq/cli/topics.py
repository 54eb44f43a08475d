"""`shmq topics`: create, list, describe, alter, delete.

Owns: their options, which are those of kafka-topics and kafka-configs where these have one.
Must never: make a broker, except by creating a topic.
Sits: over `shmq.admin`; `tables` prints.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import click

from shmq.admin import Admin
from shmq.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError
from shmq.types import ConfigResource, NewTopic

from .failures import CommandError
from .options import Pair, broker_option, check_broker, json_option, pairs_dict

_config_option = click.option(
    "--config", "configs", type=Pair(), multiple=True, help="A topic option, such as retention.bytes=64MiB; repeatable."
)


@click.group()
def topics() -> None:
    """Create, list, describe, alter and delete topics."""


@topics.command()
@click.argument("names", metavar="TOPIC...", nargs=-1, required=True)
@click.option("--partitions", type=int, default=1, show_default=True, help="How many partitions.")
@click.option("--replication-factor", type=int, default=1, show_default=True, help="Only 1 is possible for now.")
@_config_option
@click.option("--if-not-exists", is_flag=True, help="Leave a topic that exists as it is.")
@broker_option
def create(
    names: tuple[str, ...],
    partitions: int,
    replication_factor: int,
    configs: tuple[tuple[str, str], ...],
    if_not_exists: bool,
    broker: str | None,
) -> None:
    """Create topics, and the broker if there is none."""
    options = pairs_dict(configs, "--config")
    with Admin(bootstrap_servers=broker) as admin:
        for name in names:
            with contextlib.suppress(*[TopicAlreadyExistsError] if if_not_exists else []):
                admin.create_topics([NewTopic(name, partitions, replication_factor, topic_configs=options)])


@topics.command("list")
@json_option
@broker_option
def list_topics(as_json: bool, broker: str | None) -> None:
    """List the names of all topics, one per line."""
    check_broker(broker)
    with Admin(bootstrap_servers=broker) as admin:
        names = admin.list_topics()
    if as_json:
        click.echo(json.dumps(names))
    else:
        for name in names:
            click.echo(name)


@topics.command()
@click.argument("names", metavar="[TOPIC...]", nargs=-1)
@json_option
@broker_option
def describe(names: tuple[str, ...], as_json: bool, broker: str | None) -> None:
    """Show partitions, offsets, sizes and changed options of topics; of all when none is named.

    With --json all options are shown, the defaults too.
    """
    check_broker(broker)
    with Admin(bootstrap_servers=broker) as admin:
        described = admin.describe_topics(names or None)
        whole = [each for each in described if not each["error_code"]]
        for each in whole:
            each["topic_id"] = str(each["topic_id"])
            each["configs"] = _configs(admin, each["name"], "all" if as_json else "modified")
    if as_json:
        click.echo(json.dumps(whole, indent=2))
    elif whole:
        from .tables import print_topic

        for each in whole:
            print_topic(each)
    problems = [each["error_message"] for each in described if each["error_code"]]
    if problems:
        raise CommandError("; ".join(problems))


@topics.command()
@click.argument("name", metavar="TOPIC")
@_config_option
@click.option("--delete-config", "resets", multiple=True, metavar="NAME", help="Bring an option's default back.")
@click.option("--partitions", type=int, help="How many partitions in all, more than there are.")
@broker_option
def alter(
    name: str,
    configs: tuple[tuple[str, str], ...],
    resets: tuple[str, ...],
    partitions: int | None,
    broker: str | None,
) -> None:
    """Change options of a topic, or give it more partitions."""
    changes: dict[str, object] = {**pairs_dict(configs, "--config")}
    both = changes.keys() & set(resets)
    if both:
        raise click.UsageError(f"{min(both)} cannot be both set and deleted.")
    if not (changes or resets or partitions is not None):
        raise click.UsageError("Nothing to alter: give --config, --delete-config or --partitions.")
    changes |= {each: ("DELETE", None) for each in resets}
    check_broker(broker)
    with Admin(bootstrap_servers=broker) as admin:
        if partitions is not None:  # checked before the options are changed, so that one mistake changes nothing
            admin.create_partitions({name: partitions}, validate_only=True)
        if changes:
            admin.alter_configs([ConfigResource("topic", name, changes)])
        if partitions is not None:
            admin.create_partitions({name: partitions})


@topics.command()
@click.argument("names", metavar="TOPIC...", nargs=-1, required=True)
@click.option("--if-exists", is_flag=True, help="Do not mind if there is no such topic.")
@broker_option
def delete(names: tuple[str, ...], if_exists: bool, broker: str | None) -> None:
    """Delete topics with all their records, without asking back."""
    check_broker(broker)
    with Admin(bootstrap_servers=broker) as admin:
        for name in names:
            with contextlib.suppress(*[UnknownTopicOrPartitionError] if if_exists else []):
                admin.delete_topics([name])


def _configs(admin: Admin, name: str, config_filter: str) -> dict[str, Any]:
    described = admin.describe_configs([ConfigResource("topic", name)], config_filter=config_filter)
    return {option: each["value"] for option, each in described["topic"][name].items()}
