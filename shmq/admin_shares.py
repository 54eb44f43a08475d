"""The part of `Admin` that is about share groups, with the methods of Kafka's Java admin client.

Owns: the shapes of results.
Must never: need a coordinator, or change a window that a living member reads through.
Sits: over store and the native core; under `admin`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shmq import _native
from shmq.admin_forms import listed
from shmq.admin_groups import looking
from shmq.admin_results import outcomes
from shmq.store import QUEUE, SHARE, Broker, Group, Groups, ShareMember, SharePlace, Shares, Topics, open_partition
from shmq.types import TopicPartition


class ShareAdmin:
    """Administers the share groups of one broker."""

    broker: Broker

    def _topics(self, timeout_ms: float | None) -> Topics:
        raise NotImplementedError

    def list_share_groups(self) -> list[dict[str, Any]]:
        """Return the share groups that there are, as {"group_id", "group_state", "group_type", "members"}, by name.

        The state is "Stable" where a member lives, else "Empty".
        """
        shares = self._shares()
        return [_listed(group, shares.members(group)) for group in Groups(self.broker).all(SHARE)]

    def describe_share_groups(self, group_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return each share group's state, members and counts, by name.

        A member is {"client_id", "pid", "topics"}; `offsets` has an entry for each partition that the group has read:
        {"topic", "partition"} and what `list_share_group_offsets` gives.

        Raises:
            GroupIdNotFoundError: there is no such group.
            InconsistentGroupProtocolError: it is no share group.
        """
        shares, found = self._shares(), {}
        for name in listed(group_ids, "group_ids"):
            group = Groups(self.broker).load(name, SHARE)
            members = shares.members(group)
            found[name] = {
                **_listed(group, members),
                "members": [
                    {"client_id": each.client_id, "pid": each.pid, "topics": [*each.topics]} for each in members
                ],
                "offsets": [{**place._asdict(), **counts} for place, counts in self._counted(group)],
            }
        return found

    def list_share_group_offsets(
        self, group_specs: str | Iterable[str] | Mapping[str, Iterable[TopicPartition] | None]
    ) -> dict[str, dict[TopicPartition, dict[str, int]]]:
        """Return where share groups stand, by name and partition.

        Args:
            group_specs: One name, or several, or {name: partitions, or None for all}.

        Returns:
            {"start_offset": the first offset that is not done, "end_offset", "lag": records that are not done, which
            are "ready", "in_flight" (with a consumer) or "delayed" (released for later), "accepted" and "rejected"
            since the group came to the partition, "skipped" (offsets without a record, or deleted before anybody took
            them)}. All of them are exact when nobody is at it, and of nearly the same moment otherwise.

        Raises: as `describe_share_groups`.
        """
        if isinstance(group_specs, str):
            group_specs = {group_specs: None}
        specs = group_specs if isinstance(group_specs, Mapping) else dict.fromkeys(group_specs)
        found = {}
        for name, wanted in specs.items():
            chosen = None if wanted is None else set(wanted)
            group = Groups(self.broker).load(name, SHARE)
            found[name] = {place: counts for place, counts in self._counted(group) if chosen is None or place in chosen}
        return found

    def describe_share_records(
        self, group_id: str, records: Mapping[TopicPartition, Iterable[int]]
    ) -> dict[TopicPartition, dict[int, dict[str, Any]]]:
        """Return how records stand with a share group, by partition and offset, for partitions that it has read.

        Returns:
            {"state": "ready", "in_flight" (with a consumer), "delayed" (released for later) or "done",
            "delivery_count": how often it was delivered so far; 0 of what is done}

        Raises: as `describe_share_groups`.
        """
        group = Groups(self.broker).load(group_id, SHARE)
        found = {}
        with self.broker.process() as process:
            for each in self._shares().places(group):
                place = TopicPartition(each.meta.name, each.partition)
                if place in records:
                    with _opened(group, each, process) as reader:
                        standings = {offset: reader.standing(offset) for offset in records[place]}
                    found[place] = {
                        offset: {"state": state, "delivery_count": count}
                        for offset, (state, count) in standings.items()
                    }
        return found

    def list_queues(self) -> list[dict[str, Any]]:
        """Return the named queues of this broker, {"queue": name} and what `list_share_group_offsets` gives, by name.

        Of a queue that does not redeliver, an item is accepted when it is taken.
        """
        groups = Groups(self.broker).all(QUEUE)
        found = [{"queue": place.topic, **counts} for group in groups for place, counts in self._counted(group)]
        return sorted(found, key=lambda each: str(each["queue"]))

    def alter_share_group_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, Any]
    ) -> dict[TopicPartition, None]:
        """Let a share group without members go on at these places; makes the group if there is none.

        What was accepted or rejected behind such a place is delivered again, and counts begin anew. On a topic with
        `retention=consumed`, records from there on are kept for the group from now on.

        Args:
            offsets: By partition: an offset, "earliest", "latest", or {"timestamp": ms}; never beyond the log's ends.

        Raises:
            NonEmptyGroupError: it has living members; nothing was changed.
            UnknownTopicOrPartitionError: there is no such partition; nothing was changed.
            InconsistentGroupProtocolError: the name is a consumer group's.
        """
        with looking(self.broker, self._topics(None)) as look:
            places = {tuple(place): look.resolve(place, spec, None) for place, spec in offsets.items()}
        self._shares().alter(group_id, places)  # type: ignore[arg-type]  # a TopicPartition is (str, int)
        return dict.fromkeys(offsets)

    def delete_share_groups(self, group_ids: Iterable[str], raise_errors: bool = False) -> list[tuple[str, str]]:
        """Forget share groups without members, and what they have done; what was kept for them alone may go.

        Returns:
            [(name, "OK", or the name of an error)]
        """
        delete = self._shares().delete
        return outcomes(listed(group_ids, "group_ids"), delete, raise_errors)

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _shares(self) -> Shares:
        self._topics(None)
        return Shares(self.broker)

    def _counted(self, group: Group) -> Iterator[tuple[TopicPartition, dict[str, int]]]:
        with self.broker.process() as process:
            for place in self._shares().places(group):
                with _opened(group, place, process) as reader:
                    counts = reader.counts()
                    lag = counts["ready"] + counts["in_flight"] + counts["delayed"]
                    offsets = {"start_offset": counts.pop("start"), "end_offset": reader.bounds()[1], "lag": lag}
                    yield TopicPartition(place.meta.name, place.partition), offsets | counts


@contextlib.contextmanager
def _opened(group: Group, place: SharePlace, process: _native.Process) -> Iterator[_native.Reader]:
    """A group's window on a partition, to look at."""
    meta, number = place.meta, place.partition
    window = _native.Window(group.window_path(meta, number), meta.topic_id, number)
    reader = _native.Reader(open_partition(process, meta, number), TopicPartition(meta.name, number))
    try:
        reader.share(window, group.number)
        yield reader
    finally:
        reader.close()


def _listed(group: Group, members: list[ShareMember]) -> dict[str, Any]:
    return {
        "group_id": group.name,
        "group_state": "Stable" if members else "Empty",
        "group_type": "share",
        "members": len(members),
    }
