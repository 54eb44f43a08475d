"""`shmq status`: one look at a broker.

Owns: what is looked at, and the tables.
Must never: change anything, or start what does not run.
Sits: over `Admin`, store and coordination.
"""

from __future__ import annotations

import json
import select
import time
from typing import Any

import click
import psutil

from shmq import Admin, coordination
from shmq.cli.output import counted, print_table
from shmq.store import CONSUMER, Broker, Groups, Topics, broker_directory, mapped, open_broker


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Measure rates for so long."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(broker: str | None, seconds: float, as_json: bool) -> None:
    """One look at a broker: topics, rates, groups, lag, clients and what they hold, disk."""
    directory = broker_directory(broker)
    open_broker(directory, create=False).close()
    with Admin(bootstrap_servers=f"shm://{directory}") as admin:
        found = look(admin, seconds)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _show(found)


def look(admin: Admin, seconds: float) -> dict[str, Any]:
    """Return everything that there is to see, rates over so many seconds."""
    began = time.monotonic()
    before = _topics(admin.broker)
    select.select([], [], [], seconds)
    topics = _topics(admin.broker)
    elapsed = max(time.monotonic() - began, 1e-9)
    for name, topic in topics.items():
        grown = topic["records_ever"] - before.get(name, topic)["records_ever"]
        topic["records_per_second"] = round(grown / elapsed, 1) if seconds else None
    coordinator = coordination.running(admin.broker)
    names = [group.name for group in Groups(admin.broker).all(CONSUMER)]
    groups = admin.describe_groups(names) if coordinator else {}
    disk = psutil.disk_usage(admin.broker.directory)
    memory = psutil.disk_usage("/dev/shm")
    clients = _clients(admin.broker)
    return {
        "broker": admin.broker.directory,
        "coordinator": coordinator,
        "topics": list(topics.values()),
        "groups": [_group(name, groups.get(name)) for name in names],
        "clients": clients,
        "held": _held(admin.broker, {each["pid"]: each["process"] for each in clients}),
        "disk": {"free_bytes": disk.free, "total_bytes": disk.total},
        "memory": {"free_bytes": memory.free, "total_bytes": memory.total},
    }


def _topics(broker: Broker) -> dict[str, dict[str, Any]]:
    topics, found = Topics(broker), {}
    for name in topics.names():
        meta = topics.load(name)
        with topics.opened(meta) as partitions:
            stats = [partition.stats() for partition in partitions]
            offsets = [partition.offsets() for partition in partitions]
        found[name] = {
            "topic": name,
            "partitions": meta.partitions,
            "storage": meta.config.storage,
            "retention": meta.config.retention,
            "segments": sum(each["segments"] for each in stats),
            "bytes": sum(each["bytes"] for each in stats),
            "records": sum(end - begin for begin, end in offsets),
            "records_ever": sum(end for _, end in offsets),
        }
    return found


def _group(name: str, described: dict[str, Any] | None) -> dict[str, Any]:
    if described is None:  # without a coordinator there are no members
        return {"group": name, "state": "Empty", "members": 0, "lag": None}
    lag = sum(each["lag"] for each in described["offsets"])
    return {"group": name, "state": described["group_state"], "members": len(described["members"]), "lag": lag}


def _clients(broker: Broker) -> list[dict[str, Any]]:
    with broker.process() as process:
        pids = sorted({pid for _, _, pid, life in process.slots() if life == "live"} - {psutil.Process().pid})
    clients = []
    for pid in pids:
        try:
            process_ = psutil.Process(pid)
            clients.append({"pid": pid, "process": process_.name(), "resident_bytes": process_.memory_info().rss})
        except psutil.NoSuchProcess:
            continue
    return clients


def _held(broker: Broker, processes: dict[int, str]) -> list[dict[str, Any]]:
    """Which process has how many bytes of which topic mapped, most of what the log has no more first."""
    held = sorted(mapped(broker, processes), key=lambda each: (-each.gone_bytes, -each.bytes))
    return [
        {
            "pid": each.pid,
            "process": processes[each.pid],
            "topic": each.topic or None,
            "mapped_bytes": each.bytes,
            "gone_bytes": each.gone_bytes,
        }
        for each in held
    ]


def _show(found: dict[str, Any]) -> None:
    coordinator = f"coordinator {found['coordinator']}" if found["coordinator"] else "no coordinator (none is needed)"
    click.echo(f"{found['broker']}: {coordinator}")
    for name in ("disk", "memory"):
        click.echo(f"{name}: {_size(found[name]['free_bytes'])} of {_size(found[name]['total_bytes'])} free")
    heads = ["topic", "partitions ", "storage", "retention", "records ", "records/s ", "size "]
    rows = [
        [
            each["topic"],
            str(each["partitions"]),
            each["storage"],
            each["retention"],
            f"{each['records']:,}",
            "-" if each["records_per_second"] is None else f"{each['records_per_second']:,.0f}",
            _size(each["bytes"]),
        ]
        for each in found["topics"]
    ]
    print_table(counted(len(rows), "topic"), heads, rows)
    groups = [
        [each["group"], each["state"], str(each["members"]), "-" if each["lag"] is None else f"{each['lag']:,}"]
        for each in found["groups"]
    ]
    print_table(counted(len(groups), "group"), ["group", "state", "members ", "lag "], groups)
    clients = [[str(each["pid"]), each["process"], _size(each["resident_bytes"])] for each in found["clients"]]
    print_table(counted(len(clients), "client"), ["pid ", "process", "memory "], clients)
    held = [
        [
            str(each["pid"]),
            each["process"],
            each["topic"] or "(deleted)",
            _size(each["mapped_bytes"]),
            _size(each["gone_bytes"]),
        ]
        for each in found["held"]
    ]
    print_table("mapped", ["pid ", "process", "topic", "mapped ", "gone from the log "], held)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
