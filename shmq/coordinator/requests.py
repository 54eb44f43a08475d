"""What administrators ask of a coordinator.

Owns: the requests by name, and checking their arguments.
Must never: change what a living member owns.
Sits: over keeper; under sessions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from shmq.coordinator.keeper import Keeper, Kept
from shmq.errors import GroupSubscribedToTopicError, IllegalArgumentError, UnknownTopicOrPartitionError
from shmq.groups.events import Leave, Place
from shmq.store import TopicMeta
from shmq.types import OffsetAndMetadata


def answer(keeper: Keeper, name: str, arguments: dict[str, Any]) -> Any:
    """Do what is asked, and return a plain value. Raises: ShmqError."""
    request = _REQUESTS.get(name)
    if request is None:
        raise IllegalArgumentError(f"the coordinator has no request {name!r}; it may be older than this client")
    return request(keeper, **arguments)


def _ping(_: Keeper) -> dict[str, int]:
    return {"pid": os.getpid()}


def _list_groups(keeper: Keeper) -> list[dict[str, Any]]:
    return [
        {"group_id": kept.files.name, "group_state": kept.machine.state, "members": len(kept.machine.members)}
        for kept in keeper.all()
    ]


def _describe_group(keeper: Keeper, group: str) -> dict[str, Any]:
    described = keeper.load(group).machine.describe()
    return {
        "group_id": group,
        "group_state": described["state"],
        "generation": described["generation"],
        "protocol_type": "consumer",
        "protocol_data": described["strategy"] or "",
        "members": [_shown_member(each) for each in described["members"]],
    }


def _shown_member(described: dict[str, Any]) -> dict[str, Any]:
    """A member as `Admin` shows it: partitions go by name and number there."""
    assignment = [[topic, partition] for topic, _, partition in described["assignment"]]
    shown = {**described, "client_host": "localhost", "assignment": assignment, "away": described["gone"]}
    del shown["gone"], shown["revoked"]
    return shown


def _delete_group(keeper: Keeper, group: str) -> None:
    keeper.delete(group)


def _remove_members(keeper: Keeper, group: str, members: list[str]) -> int:
    """By member id or static identity; how many there were."""
    kept = keeper.load(group)
    found = [
        member_id
        for member_id, each in kept.machine.members.items()
        if member_id in members or each.join.instance_id in members
    ]
    for member_id in found:
        keeper.apply(kept, Leave(member_id, for_good=True))
    return len(found)


def _alter_offsets(keeper: Keeper, group: str, offsets: list[list[Any]]) -> None:
    """Each as [topic, partition, offset or None to forget it, metadata]. All or, if a partition is in use, none."""
    kept = keeper.open(group)
    keeper.look_at_topics()
    wanted = [(_free_partition(keeper, kept, topic, number), number, *what) for topic, number, *what in offsets]
    for meta, number, offset, metadata in wanted:
        committed = None if offset is None else OffsetAndMetadata(int(offset), str(metadata), -1)
        before = kept.committed.look(meta, number)
        if committed is not None and before is not None and (before.offset or 0) > (committed.offset or 0):
            # Before the group can go on from there, nothing from there on goes.
            keeper.hold(kept, meta, number, committed.offset)
        kept.epochs[Place(meta.name, meta.topic_id, number)] = kept.committed.reset(meta, number, committed)
        keeper.hold(kept, meta, number, None if committed is None else committed.offset)
    keeper.save(kept)


def _free_partition(keeper: Keeper, kept: Kept, topic: str, number: int) -> TopicMeta:
    meta = keeper.metas.get(topic)
    if meta is None:
        raise UnknownTopicOrPartitionError(topic)
    if not 0 <= number < meta.partitions:
        raise UnknownTopicOrPartitionError(topic, number, meta.partitions)
    if kept.machine.owner(Place(topic, meta.topic_id, number)) is not None:
        raise GroupSubscribedToTopicError(kept.files.name, topic)
    return meta


_REQUESTS: dict[str, Callable[..., Any]] = {
    "ping": _ping,
    "list_groups": _list_groups,
    "describe_group": _describe_group,
    "delete_group": _delete_group,
    "remove_members": _remove_members,
    "alter_offsets": _alter_offsets,
}
