"""The part of `Admin` that is about consumer groups, with the methods of kafka-python's admin client.

Owns: the shapes of results, and where offsets are to be reset to.
Must never: change what a living member owns; the coordinator refuses it.
Sits: over coordination and committed; under `admin`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from shmq import _native, coordination
from shmq.admin_forms import listed
from shmq.admin_results import outcomes
from shmq.committed import CommittedOffsets
from shmq.errors import IllegalArgumentError, UnknownTopicOrPartitionError
from shmq.store import CONSUMER, Broker, Groups, TopicMeta, Topics, open_partition
from shmq.types import OffsetAndMetadata, TopicPartition


class GroupAdmin:
    """Administers the groups of one broker; starts the coordinator where it is needed."""

    broker: Broker

    def _topics(self, timeout_ms: float | None) -> Topics:
        raise NotImplementedError

    def list_groups(self, states_filter: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Return the groups that there are, as {"group_id", "protocol_type", "group_state", "group_type", "members"}.

        Args:
            states_filter: Only groups in these states: "Empty", "PreparingRebalance", "Stable".

        Raises:
            CoordinatorNotAvailableError: the coordinator cannot be reached.

        Source: KafkaAdminClient.list_groups of kafka-python.
        """
        self._topics(None)
        wanted = None if states_filter is None else {each.lower() for each in listed(states_filter, "states_filter")}
        groups = coordination.request(self.broker, "list_groups")
        return [
            {**group, "protocol_type": "consumer", "group_type": "consumer"}
            for group in groups
            if wanted is None or group["group_state"].lower() in wanted
        ]

    def describe_groups(self, group_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return each group's state, members and lag, by name.

        A member is {"member_id", "group_instance_id", "client_id", "pid", "process", "assignment", ...}; `offsets` has
        an entry for each partition that is assigned or committed: {"topic", "partition", "committed", "end", "lag",
        "member_id"}.

        Raises:
            GroupIdNotFoundError: there is no such group.
        """
        return {name: self._described(name) for name in listed(group_ids, "group_ids")}

    def list_group_offsets(
        self, group_specs: str | Iterable[str] | Mapping[str, Iterable[TopicPartition] | None]
    ) -> dict[str, dict[TopicPartition, OffsetAndMetadata]]:
        """Return what groups have committed, by name and partition; needs no coordinator.

        Args:
            group_specs: One name, or several, or {name: partitions, or None for all}.

        Raises:
            GroupIdNotFoundError: there is no such group.
        """
        if isinstance(group_specs, str):
            group_specs = {group_specs: None}
        specs = group_specs if isinstance(group_specs, Mapping) else dict.fromkeys(group_specs)
        return {name: self._committed(name, wanted) for name, wanted in specs.items()}

    def alter_group_offsets(
        self, group_id: str, offsets: Mapping[TopicPartition, OffsetAndMetadata | None]
    ) -> dict[TopicPartition, None]:
        """Set what a group has committed, all or nothing; makes the group if there is none. None forgets.

        On a topic with `retention=consumed`, records from there on are kept for the group from now on.

        Raises:
            GroupSubscribedToTopicError: a member owns one of these partitions; nothing was changed.
            UnknownTopicOrPartitionError: there is no such partition.
        """
        self._topics(None)
        wanted = []
        for place, what in offsets.items():
            if what is not None and (not isinstance(what.offset, int) or what.offset < 0):
                raise IllegalArgumentError(f"{place}: an offset of 0 or more, not {what!r}")
            wanted.append([*place, *((None, "") if what is None else (what.offset, what.metadata))])
        coordination.request(self.broker, "alter_offsets", group=group_id, offsets=wanted)
        return dict.fromkeys(offsets)

    def reset_group_offsets(
        self, group_id: str, offset_specs: Mapping[TopicPartition, Any], *, dry_run: bool = False
    ) -> dict[TopicPartition, dict[str, Any]]:
        """Set what a group has committed to a place in the log; never beyond its ends.

        Args:
            offset_specs: By partition: an offset, "earliest", "latest", or {"timestamp": ms} or {"shift": records}.
            dry_run: Change nothing; say what would be.

        Returns:
            {partition: {"offset": the new one, "before": the old one or None, "error": None}}

        Raises: as `alter_group_offsets`.
        """
        before = self._committed(group_id, None) if Groups(self.broker).find(group_id) else {}
        results: dict[TopicPartition, dict[str, Any]] = {}
        with looking(self.broker, self._topics(None)) as look:
            for place, spec in offset_specs.items():
                old = before.get(place)
                offset = look.resolve(place, spec, None if old is None else old.offset)
                results[place] = {"offset": offset, "before": None if old is None else old.offset, "error": None}
        if not dry_run and results:
            self.alter_group_offsets(
                group_id, {place: OffsetAndMetadata(each["offset"], "", -1) for place, each in results.items()}
            )
        return results

    def delete_groups(self, group_ids: Iterable[str], raise_errors: bool = False) -> list[tuple[str, str]]:
        """Forget groups and all that they have committed; what was kept for them alone may go.

        Returns:
            [(name, "OK", or the name of an error)]
        """
        self._topics(None)

        def delete(name: str) -> None:
            coordination.request(self.broker, "delete_group", group=name)

        return outcomes(listed(group_ids, "group_ids"), delete, raise_errors)

    def remove_group_members(self, group_id: str, members: Iterable[str]) -> int:
        """Expel members, by member id or `group_instance_id`, for good; how many there were."""
        wanted = listed(members, "members")
        return int(coordination.request(self.broker, "remove_members", group=group_id, members=wanted))

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _described(self, name: str) -> dict[str, Any]:
        self._topics(None)
        group = coordination.request(self.broker, "describe_group", group=name)
        owners = {tuple(place): each["member_id"] for each in group["members"] for place in each["assignment"]}
        committed = self._committed(name, None)
        group["offsets"] = []
        with looking(self.broker, self._topics(None)) as look:
            for place in sorted({*committed, *(TopicPartition(*each) for each in owners)}):
                bounds = look.bounds(place)
                if bounds is None:  # its topic is gone
                    continue
                offset = committed[place].offset if place in committed else None
                lag = bounds[1] - max(bounds[0], offset or 0)
                group["offsets"].append(
                    {
                        "topic": place.topic,
                        "partition": place.partition,
                        "committed": offset,
                        "end": bounds[1],
                        "lag": lag,
                        "member_id": owners.get(tuple(place)),
                    }
                )
        group["error"] = None
        return dict(group)

    def _committed(self, name: str, wanted: Iterable[TopicPartition] | None) -> dict[TopicPartition, OffsetAndMetadata]:
        topics = self._topics(None)
        group = Groups(self.broker).load(name, CONSUMER)
        metas = {each: topics.find(each) for each in topics.names()}
        committed = CommittedOffsets(group)
        chosen = None if wanted is None else set(wanted)
        found = {}
        for topic, topic_id, partition, word in committed.stored():
            place = TopicPartition(topic, partition)
            meta = metas.get(topic)
            if meta is not None and meta.topic_id == topic_id and (chosen is None or place in chosen):
                found[place] = committed.with_note(meta, partition, word)
        return found


@contextlib.contextmanager
def looking(broker: Broker, topics: Topics) -> Iterator[Look]:
    """Look into a broker's partitions for a while."""
    with broker.process() as process:
        yield Look(topics, process)


class Look:
    """Looks into partitions."""

    def __init__(self, topics: Topics, process: _native.Process) -> None:
        self._topics, self._process = topics, process
        self._names = set(topics.names())

    def bounds(self, place: TopicPartition) -> tuple[int, int] | None:
        """First offset, and the one after the last; None if there is no such partition."""
        if place.topic not in self._names:
            return None
        meta = self._topics.load(place.topic)
        if not 0 <= place.partition < meta.partitions:
            return None
        return self._open(meta, place).offsets()

    def resolve(self, place: TopicPartition, spec: object, committed: int | None) -> int:
        """Return the offset that a specification means, within the log."""
        meta = self._topics.load(place.topic)
        begin, end = self._open(meta, place).offsets()
        if spec == "earliest":
            return begin
        if spec == "latest":
            return end
        if isinstance(spec, Mapping) and list(spec) == ["timestamp"]:
            return self._find(meta, place, int(spec["timestamp"]), end)
        if isinstance(spec, Mapping) and list(spec) == ["shift"]:
            return min(max((begin if committed is None else committed) + int(spec["shift"]), begin), end)
        if isinstance(spec, int) and not isinstance(spec, bool):
            return min(max(spec, begin), end)
        raise IllegalArgumentError(
            f"{place}: {spec!r} is no place in the log: an offset, 'earliest', 'latest', {{'timestamp': ms}} or "
            "{'shift': records}"
        )

    def _find(self, meta: TopicMeta, place: TopicPartition, timestamp_ms: int, end: int) -> int:
        reader = _native.Reader(self._open(meta, place), place)
        try:
            reader.seek(reader.bounds()[0])
            hit = reader.find_time(timestamp_ms)
            return end if hit is None else hit[0]
        finally:
            reader.close()

    def _open(self, meta: TopicMeta, place: TopicPartition) -> _native.Partition:
        if not 0 <= place.partition < meta.partitions:
            raise UnknownTopicOrPartitionError(*place, meta.partitions)
        return open_partition(self._process, meta, place.partition)
