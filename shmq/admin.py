"""`Admin`: creating, describing, changing and deleting topics, with the methods of kafka-python's admin client.

Owns: the shapes in which results are returned, and Kafka's error codes in them.
Must never: read or write a broker's files itself; the store does.
Sits: right of the store, beside producer and consumer. Topics need no coordinator.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from shmq.admin_forms import (
    config_changes,
    listed,
    partition_total,
    record_deletions,
    split_resources,
    topic_requests,
)
from shmq.admin_groups import GroupAdmin
from shmq.admin_results import Results, described_broker, described_options, described_partition
from shmq.admin_shares import ShareAdmin
from shmq.config import AdminConfig, TopicConfig, checked_timeout_ms
from shmq.errors import (
    ClosedError,
    IllegalArgumentError,
    OffsetOutOfRangeError,
    ShmqError,
    UnknownTopicOrPartitionError,
)
from shmq.store import Topics, broker_directory, large_page_bytes, open_broker
from shmq.types import ConfigFilterType, ConfigResource, TopicPartition

_ONLY_BROKER = 0


class Admin(GroupAdmin, ShareAdmin):
    """Administers the topics and groups of one broker. Safe from any thread, and in forked children.

    Every operation is whole or not there, also for other processes and when this one dies in the middle.

    Attributes:
        broker: The open broker directory, for tools.
    """

    def __init__(self, **configs: Any) -> None:
        """Open the broker, and make it if it does not exist.

        Args:
            **configs: See `AdminConfig`; `bootstrap_servers` says which broker.

        Raises:
            KafkaConfigurationError: an option that does not exist or cannot be so.
            NotABrokerError, StorageError, UnsupportedVersionError: see `store.open_broker`.
        """
        self._config = AdminConfig.parse(configs)
        directory = broker_directory(self._config.bootstrap_servers)
        self.broker = open_broker(directory, timeout_ms=self._config.request_timeout_ms)
        self._closed = False

    def create_topics(
        self,
        new_topics: Mapping[str, Mapping[str, Any]] | Iterable[Any],
        timeout_ms: float | None = None,
        validate_only: bool = False,
        raise_errors: bool = True,
        wait_for_metadata: bool = False,  # noqa: ARG002  # kafka-python's; see below
    ) -> dict[str, Any]:
        """Create topics.

        Args:
            new_topics: {name: {"num_partitions": 4, "replication_factor": 1, "configs": {option: value}}}, all
                fields optional; or a list of names, or of `NewTopic`.
            timeout_ms: Longest wait for another administrator; default `request_timeout_ms`.
            validate_only: Check everything and create nothing.
            raise_errors: Raise the first error, once every topic was tried; else it is only in the result.
            wait_for_metadata: No effect: a topic can be used when this returns.

        Returns:
            {"topics": [{"name", "topic_id", "error_code", "error_message", "num_partitions", "replication_factor"}]}

        Raises:
            TopicAlreadyExistsError, InvalidTopicError, InvalidPartitionsError, InvalidReplicationFactorError,
            InvalidConfigurationError: what was asked for cannot be.
            StorageFullError, StorageError: there is no room, or the files cannot be written.
            KafkaTimeoutError: another administrator took too long.

        Source: KafkaAdminClient.create_topics of kafka-python.
        """
        topics, results = self._topics(timeout_ms), Results(raise_errors)
        for request in topic_requests(new_topics):
            with results.of({"name": request.name}) as result:
                result |= {"topic_id": None, "num_partitions": -1, "replication_factor": -1}
                config = TopicConfig.parse(request.configs)
                meta = topics.create(request.name, request.partitions(), config, validate_only=validate_only)
                result |= {
                    "topic_id": self._uuid(meta.topic_id),
                    "num_partitions": meta.partitions,
                    "replication_factor": 1,
                }
        return {"topics": results.finish()}

    def delete_topics(
        self, topics: Iterable[str | uuid.UUID], timeout_ms: float | None = None, raise_errors: bool = True
    ) -> dict[str, Any]:
        """Delete topics with all their records. Processes that use them get UnknownTopicOrPartitionError.

        Args:
            topics: Names, or ids as `describe_topics` gives them.
            timeout_ms: Longest wait for another administrator; default `request_timeout_ms`.
            raise_errors: Raise the first error, once every topic was tried; else it is only in the result.

        Returns:
            {"topics": [{"name", "topic_id", "error_code", "error_message"}]}

        Raises:
            UnknownTopicOrPartitionError: there is no such topic.
            KafkaTimeoutError: another administrator took too long.

        Source: KafkaAdminClient.delete_topics of kafka-python.
        """
        store, results = self._topics(timeout_ms), Results(raise_errors)
        for given in listed(topics, "topics"):
            with results.of({"name": given, "topic_id": None}) as result:
                result["name"] = self._name_of(store, given)
                result["topic_id"] = self._uuid(store.delete(result["name"]))
        return {"topics": results.finish()}

    def list_topics(self) -> list[str]:
        """Return the names of all topics, sorted. Source: KafkaAdminClient.list_topics of kafka-python."""
        return self._topics(None).names()

    def describe_topics(self, topics: Iterable[str | uuid.UUID] | None = None) -> list[dict[str, Any]]:
        """Describe topics.

        Args:
            topics: Names or ids; None for all.

        Returns:
            One dict per topic: "error_code" (0, or Kafka's number: an unknown topic is 3 and does not raise),
            "error_message", "name", "topic_id", "is_internal", and "partitions": a list of dicts with
            "partition_index", "leader_id", "replica_nodes", "isr_nodes" and "offline_replicas" as in Kafka, and
            "beginning_offset", "end_offset", "bytes", "segments" and, of topics in memory, "large_page_bytes": how many
            of the bytes lie on large pages; else None.

        Source: KafkaAdminClient.describe_topics of kafka-python.
        """
        store, results = self._topics(None), Results(raise_errors=False)
        wanted = store.names() if topics is None else listed(topics, "topics")
        for given in wanted:
            with results.of({"name": given, "topic_id": None, "is_internal": False, "partitions": []}) as result:
                result["name"] = self._name_of(store, given)
                meta = store.load(result["name"])
                result["topic_id"] = self._uuid(meta.topic_id)
                with store.opened(meta) as partitions:
                    result["partitions"] = [
                        described_partition(
                            number,
                            each.stats(),
                            large_page_bytes(meta.partition_directory(number)) if meta.in_memory else None,
                        )
                        for number, each in enumerate(partitions)
                    ]
        return results.finish()

    def create_partitions(
        self,
        topic_partitions: Mapping[str, Any],
        timeout_ms: float | None = None,
        validate_only: bool = False,
        raise_errors: bool = True,
    ) -> dict[str, Any]:
        """Give topics more partitions. Keys whose murmur2 falls on a new one go there from now on, as in Kafka.

        Args:
            topic_partitions: {name: how many in all}, where that is an int, {"count": int} or `NewPartitions`.
            timeout_ms: Longest wait for another administrator; default `request_timeout_ms`.
            validate_only: Check everything and change nothing.
            raise_errors: Raise the first error, once every topic was tried; else it is only in the result.

        Returns:
            {"results": [{"name", "error_code", "error_message"}]}

        Raises:
            UnknownTopicOrPartitionError: there is no such topic.
            InvalidPartitionsError: the topic has as many already.
            StorageFullError, StorageError: there is no room, or the files cannot be written.

        Source: KafkaAdminClient.create_partitions of kafka-python.
        """
        store, results = self._topics(timeout_ms), Results(raise_errors)
        for name, wanted in topic_partitions.items():
            with results.of({"name": name}):
                store.add_partitions(name, partition_total(name, wanted), validate_only=validate_only)
        return {"results": results.finish()}

    def delete_records(
        self,
        records_to_delete: Mapping[TopicPartition, int],
        timeout_ms: float | None = None,
        partition_leader_id: int | None = None,
    ) -> dict[TopicPartition, dict[str, int]]:
        """Delete the oldest records of partitions, whoever has not read them. Files go once all their records have.

        A consumer that stands before what is left goes on where its `auto_offset_reset` says.

        Args:
            records_to_delete: {TopicPartition: the first offset to be kept}; -1 keeps nothing that is there now.
            timeout_ms: No effect: nothing is waited for.
            partition_leader_id: No effect; None, or 0, the only broker.

        Returns:
            {TopicPartition: {"partition_index", "low_watermark": the first offset now, "error_code": 0}}; the first
            offset is larger than asked for where retention was faster.

        Raises:
            UnknownTopicOrPartitionError: there is no such topic or partition; nothing was deleted anywhere.
            OffsetOutOfRangeError: an offset is beyond the end of its partition; the others were tried all the same.
            IllegalArgumentError: an offset below -1.

        Source: KafkaAdminClient.delete_records of kafka-python.
        """
        store, deletions = self._topics(timeout_ms), record_deletions(records_to_delete)
        if partition_leader_id not in (None, _ONLY_BROKER):
            raise IllegalArgumentError(f"partition_leader_id={partition_leader_id}: there is only broker 0")
        metas = {name: store.load(name) for name in dict.fromkeys(place.topic for place in deletions)}
        for topic, number in deletions:
            if not 0 <= number < metas[topic].partitions:
                raise UnknownTopicOrPartitionError(topic, number, metas[topic].partitions)
        results, errors = {}, []
        for place, offset in deletions.items():
            with store.opened(metas[place.topic], [place.partition]) as [partition]:
                try:
                    begin = partition.delete_records(offset)
                    results[place] = {"partition_index": place.partition, "low_watermark": begin, "error_code": 0}
                except OffsetOutOfRangeError as error:
                    errors.append(error)
        if errors:
            raise errors[0]
        return results

    def describe_configs(
        self,
        config_resources: Iterable[ConfigResource],
        include_synonyms: bool = False,
        config_filter: ConfigFilterType | str | int = ConfigFilterType.MODIFIED,
    ) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """Return the options of topics, and of the broker.

        Args:
            config_resources: Topics, or the broker, which is called "0"; `configs` names the options wanted, None for
                all.
            include_synonyms: Whether each option comes with its default too.
            config_filter: Which ones: "modified" (given by somebody), "all", "dynamic" (can be altered), "default".

        Returns:
            {"topic": {name: {option in Kafka's dotted form: {"value" (text), "read_only", "config_source",
            "is_sensitive", "synonyms", "config_type", "documentation"}}}}; and "broker" the same, if asked for

        Raises:
            UnknownTopicOrPartitionError: there is no such topic.

        Source: KafkaAdminClient.describe_configs of kafka-python.
        """
        store = self._topics(None)
        topics, brokers = split_resources(config_resources)
        described = {
            name: described_options(store.find(name).config, resource.configs, include_synonyms, config_filter)
            for name, resource in topics
        }
        return {"topic": described} | ({"broker": {"0": described_broker(self.broker.options())}} if brokers else {})

    def alter_configs(
        self,
        config_resources: Iterable[ConfigResource],
        validate_only: bool = False,
        raise_on_unknown: bool = True,
        incremental: bool | None = None,  # noqa: ARG002  # kafka-python's; see below
    ) -> dict[str, dict[str, str]]:
        """Change options of topics, or of the broker, which is called "0"; what is not named stays.

        Processes that use them follow at once.

        Args:
            config_resources: Topics, or the broker; `configs` is {option: value}, or {option: (op, value)} with op
                "SET" or "DELETE".
            validate_only: Check everything and change nothing.
            raise_on_unknown: Raise errors; else they are only in the result.
            incremental: No effect: changes always are.

        Returns:
            {"topic": {name: "OK", or an error's text}}, and the same under "broker" if it was asked for

        Raises:
            UnknownTopicOrPartitionError: there is no such topic.
            InvalidConfigurationError: an option that does not exist, cannot be so, or cannot be altered.
            KafkaTimeoutError: another administrator took too long.

        Source: KafkaAdminClient.alter_configs of kafka-python.
        """
        store = self._topics(None)
        topics, brokers = split_resources(config_resources)
        outcomes: dict[str, dict[str, str]] = {"topic": {}}
        if brokers:
            outcomes["broker"] = {}
        for kind, named in (("topic", topics), ("broker", brokers)):
            for name, resource in named:
                changes, reset = config_changes(resource)
                try:
                    if kind == "topic":
                        store.alter(name, changes, reset, validate_only=validate_only)
                    else:
                        self._alter_broker(changes, reset, validate_only)
                    outcomes[kind][name] = "OK"
                except ShmqError as error:
                    if raise_on_unknown:
                        raise
                    outcomes[kind][name] = str(error)
        return outcomes

    def close(self) -> None:
        """Let go of the broker; a second time does nothing."""
        self._closed = True
        self.broker.close()

    def __enter__(self) -> Admin:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _alter_broker(self, changes: Mapping[str, object], reset: Iterable[str], validate_only: bool) -> None:
        with self.broker.administration(self._config.request_timeout_ms):
            options = self.broker.options().altered(changes, reset)
            if not validate_only:
                self.broker.alter(options)

    def _topics(self, timeout_ms: float | None) -> Topics:
        if self._closed:
            raise ClosedError("this Admin")
        if timeout_ms is None:
            return Topics(self.broker, self._config.request_timeout_ms)
        return Topics(self.broker, checked_timeout_ms(timeout_ms))

    def _uuid(self, topic_id: int | None) -> uuid.UUID | None:
        """Return an id that differs between brokers too: the broker's instance, then the topic's number."""
        return None if topic_id is None else uuid.UUID(int=self.broker.instance << 64 | topic_id)

    def _name_of(self, store: Topics, given: str | uuid.UUID) -> str:
        if not isinstance(given, uuid.UUID):
            return given
        for name in store.names():
            if self._uuid(store.find(name).topic_id) == given:
                return name
        raise UnknownTopicOrPartitionError(str(given))
