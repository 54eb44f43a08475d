from __future__ import annotations

import pickle

import pytest

from shmq.types import (
    BatchMetadata,
    ConfigResource,
    ConfigResourceType,
    NewTopic,
    OffsetAndMetadata,
    OffsetAndTimestamp,
    RecordMetadata,
    TopicPartition,
)


def test_tuples_have_the_fields_of_kafka_python() -> None:
    assert TopicPartition._fields == ("topic", "partition")
    assert OffsetAndMetadata._fields == ("offset", "metadata", "leader_epoch")
    assert OffsetAndMetadata() == (None, "", -1)
    assert OffsetAndTimestamp._fields == ("offset", "timestamp", "leader_epoch")
    assert RecordMetadata._fields == (
        "topic",
        "partition",
        "topic_partition",
        "offset",
        "timestamp",
        "checksum",
        "serialized_key_size",
        "serialized_value_size",
        "serialized_header_size",
    )


def test_a_batch_names_its_count_of_records() -> None:
    batch = BatchMetadata("orders", 3, base_offset=100, count=7, timestamp=1)

    assert batch.count == 7
    assert pickle.loads(pickle.dumps(batch)) == batch


def test_a_new_topic_takes_kafka_pythons_arguments() -> None:
    topic = NewTopic("orders", 4, 1, topic_configs={"retention.ms": "1000"})

    assert (topic.name, topic.num_partitions, topic.replication_factor) == ("orders", 4, 1)
    assert topic.replica_assignments == {}
    assert topic.topic_configs == {"retention.ms": "1000"}


@pytest.mark.parametrize("given", [ConfigResourceType.TOPIC, "topic", "TOPIC"])
def test_a_resource_type_may_be_its_name(given: ConfigResourceType | str) -> None:
    assert ConfigResource(given, "orders").resource_type is ConfigResourceType.TOPIC


def test_an_unknown_resource_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'topik'.*TOPIC"):
        ConfigResource("topik", "orders")
