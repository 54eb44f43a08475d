"""`shmq groups`: list, describe, reset-offsets, delete.

Owns: the words and tables of these commands.
Must never: decide anything that `Admin` decides.
Sits: over `Admin`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from shmq import Admin, TopicPartition
from shmq.cli.output import counted, print_table
from shmq.errors import IllegalArgumentError

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def groups() -> None:
    """List, describe, reset and delete consumer groups."""


@groups.command("list")
@_as_json
@click.pass_obj
def list_groups(broker: str | None, as_json: bool) -> None:
    """List all groups, with their states."""
    with Admin(bootstrap_servers=broker) as admin:
        found = admin.list_groups()
    if as_json:
        click.echo(json.dumps(found))
        return
    print_table(
        counted(len(found), "group"),
        ["group", "state", "members "],
        [[each["group_id"], each["group_state"], str(each["members"])] for each in found],
    )


@groups.command()
@click.argument("names", nargs=-1, required=True, metavar="GROUP...")
@_as_json
@click.pass_obj
def describe(broker: str | None, names: tuple[str, ...], as_json: bool) -> None:
    """Show members, committed offsets and lag."""
    with Admin(bootstrap_servers=broker) as admin:
        found = admin.describe_groups(names)
    if as_json:
        click.echo(json.dumps(found))
        return
    for name, group in found.items():
        assignor = f", assignor {group['protocol_data']}" if group["protocol_data"] else ""
        print_table(
            f"group {name}: {group['group_state']}, generation {group['generation']}{assignor}",
            ["member", "process", "pid ", "partitions "],
            [_member_row(each) for each in group["members"]],
        )
        print_table("", ["topic", "partition ", "committed ", "end ", "lag ", "member"], _offset_rows(group))


@groups.command("reset-offsets")
@click.argument("group")
@click.argument("topic")
@click.option("--partition", "partitions", type=int, multiple=True, help="Only this one; may be given several times.")
@click.option("--to-earliest", is_flag=True, help="To the first record that there is.")
@click.option("--to-latest", is_flag=True, help="Behind the last record.")
@click.option("--to-offset", type=click.IntRange(min=0), help="To this offset.")
@click.option(
    "--to-datetime", metavar="TIME", help="To the first record from this time on: ISO 8601, or ms since 1970."
)
@click.option("--shift-by", type=int, help="So many records ahead; negative: back.")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be.")
@_as_json
@click.pass_obj
def reset_offsets(
    broker: str | None,
    /,
    group: str,
    topic: str,
    partitions: tuple[int, ...],
    dry_run: bool,
    as_json: bool,
    **places: Any,
) -> None:
    """Set where a group goes on in a topic; none of its members may be reading it."""
    spec = _place(**places)
    with Admin(bootstrap_servers=broker) as admin:
        count = len(admin.describe_topics([topic])[0]["partitions"])
        wanted = [TopicPartition(topic, each) for each in partitions or range(count)]
        results = admin.reset_group_offsets(group, dict.fromkeys(wanted, spec), dry_run=dry_run)
    rows = [{"topic": place.topic, "partition": place.partition, **result} for place, result in results.items()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    print_table(
        f"group {group}: {'would be' if dry_run else 'was'} reset",
        ["topic", "partition ", "before ", "now "],
        [[each["topic"], str(each["partition"]), _shown(each["before"]), str(each["offset"])] for each in rows],
    )


@groups.command()
@click.argument("names", nargs=-1, required=True, metavar="GROUP...")
@click.pass_obj
def delete(broker: str | None, names: tuple[str, ...]) -> None:
    """Forget groups without members, and all that they have committed."""
    with Admin(bootstrap_servers=broker) as admin:
        for name in names:
            admin.delete_groups([name], raise_errors=True)
            click.echo(f"deleted group {name}")


def _place(
    to_earliest: bool, to_latest: bool, to_offset: int | None, to_datetime: str | None, shift_by: int | None
) -> Any:
    given = {
        "--to-earliest": "earliest" if to_earliest else None,
        "--to-latest": "latest" if to_latest else None,
        "--to-offset": to_offset,
        "--to-datetime": None if to_datetime is None else {"timestamp": _milliseconds(to_datetime)},
        "--shift-by": None if shift_by is None else {"shift": shift_by},
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        raise click.UsageError(f"say where to: one of {', '.join(given)}")
    return next(iter(chosen.values()))


def _milliseconds(text: str) -> int:
    if text.isdigit():
        return int(text)
    try:
        return max(0, int(datetime.fromisoformat(text).timestamp() * 1000))
    except ValueError:
        raise IllegalArgumentError(f"{text!r} is no time such as 2026-11-26T12:00, nor milliseconds") from None


def _member_row(member: dict[str, Any]) -> list[str]:
    name = member["group_instance_id"] or member["client_id"]
    away = " (away)" if member["away"] else ""
    return [f"{name}{away}", member["process"], str(member["pid"]), str(len(member["assignment"]))]


def _offset_rows(group: dict[str, Any]) -> list[list[str]]:
    names = {each["member_id"]: each["group_instance_id"] or each["client_id"] for each in group["members"]}
    return [
        [
            each["topic"],
            str(each["partition"]),
            _shown(each["committed"]),
            f"{each['end']:,}",
            f"{each['lag']:,}",
            names.get(each["member_id"], "-"),
        ]
        for each in group["offsets"]
    ]


def _shown(offset: int | None) -> str:
    return "-" if offset is None else f"{offset:,}"
