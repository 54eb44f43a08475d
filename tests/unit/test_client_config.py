from __future__ import annotations

import math

import pytest

from shmq.config import AdminConfig, ConsumerConfig, ProducerConfig, checked_timeout_ms, did_you_mean
from shmq.config.client import ClientConfig
from shmq.config.foreign import FOREIGN
from shmq.errors import IllegalArgumentError, KafkaConfigurationError

KAFKA_PYTHON_PRODUCER_DEFAULTS = {
    "bootstrap_servers": "localhost",
    "enable_idempotence": True,
    "delivery_timeout_ms": 120000,
    "acks": -1,
    "compression_type": None,
    "retries": math.inf,
    "batch_size": 16384,
    "linger_ms": 0,
    "max_block_ms": 60000,
    "max_request_size": 1048576,
    "allow_auto_create_topics": True,
    "retry_backoff_ms": 100,
    "request_timeout_ms": 30000,
    "max_in_flight_requests_per_connection": 5,
    "metrics_enabled": True,
}
KAFKA_PYTHON_CONSUMER_DEFAULTS = {
    "bootstrap_servers": "localhost",
    "group_id": None,
    "fetch_max_wait_ms": 500,
    "fetch_min_bytes": 1,
    "fetch_max_bytes": 52428800,
    "max_partition_fetch_bytes": 1048576,
    "auto_offset_reset": "latest",
    "enable_auto_commit": True,
    "auto_commit_interval_ms": 5000,
    "check_crcs": True,
    "allow_auto_create_topics": True,
    "max_poll_records": 500,
    "consumer_timeout_ms": math.inf,
    "metrics_enabled": True,
    "exclude_internal_topics": True,
}


@pytest.mark.parametrize(
    ("kind", "defaults"),
    [(ProducerConfig, KAFKA_PYTHON_PRODUCER_DEFAULTS), (ConsumerConfig, KAFKA_PYTHON_CONSUMER_DEFAULTS)],
)
def test_defaults_are_those_of_kafka_python(kind: type[ClientConfig], defaults: dict[str, object]) -> None:
    config = kind.parse({})

    assert {name: getattr(config, name) for name in defaults} == defaults


@pytest.mark.parametrize("kind", [ProducerConfig, ConsumerConfig, AdminConfig])
def test_an_option_of_the_network_passes_at_its_default_and_is_refused_otherwise(kind: type[ClientConfig]) -> None:
    kind.parse({"security_protocol": "PLAINTEXT", "ssl_cafile": None, "socket_options": [(6, 1, 1)]})

    with pytest.raises(KafkaConfigurationError, match="no meaning for a local broker"):
        kind.parse({"security_protocol": "SSL"})


def test_one_is_not_taken_for_true() -> None:
    with pytest.raises(KafkaConfigurationError, match="ssl_check_hostname=1"):
        ProducerConfig.parse({"ssl_check_hostname": 1})


def test_every_foreign_default_has_a_reason() -> None:
    assert all(reason for _, reason in FOREIGN.values())


@pytest.mark.parametrize(
    ("kind", "configs", "said"),
    [
        (ProducerConfig, {"ack": 1}, "did you mean 'acks'"),
        (ConsumerConfig, {"auto-offset-reset": "latest"}, "did you mean 'auto_offset_reset'"),
        (AdminConfig, {"colour": 1}, "there is no such option"),
        (ProducerConfig, {"acks": 2}, "must be one of 0, 1, -1, all"),
        (ProducerConfig, {"acks": True}, "must be one of"),
        (ProducerConfig, {"linger_ms": -1}, "0..2147483647 ms is allowed"),
        (ProducerConfig, {"linger_ms": math.nan}, "is out of range"),
        (ProducerConfig, {"linger_ms": "5"}, "must be a number, not str"),
        (ProducerConfig, {"batch_size": 1.5}, "whole number"),
        (ProducerConfig, {"max_in_flight_requests_per_connection": 0}, "1..2147483647"),
        (ProducerConfig, {"compression_type": "gzip"}, "compression does not exist here"),
        (ProducerConfig, {"compression_type": "gunzip"}, "must be one of None"),
        (ProducerConfig, {"transactional_id": "t"}, "transactions"),
        (ProducerConfig, {"partitioner": 3}, "None, a callable, or an object with .partition()"),
        (ProducerConfig, {"value_serializer": "utf-8"}, ".serialize()"),
        (ProducerConfig, {"client_id": 3}, "must be text"),
        (ProducerConfig, {"bootstrap_servers": 9092}, "shm://default"),
        (ProducerConfig, {"bootstrap_servers": []}, "shm://default"),
        (ConsumerConfig, {"group_id": ""}, "must not be empty"),
        (ConsumerConfig, {"group_id": 7}, "must be text"),
        (ConsumerConfig, {"group_instance_id": "me"}, "needs a group_id"),
        (ConsumerConfig, {"session_timeout_ms": 10}, "above heartbeat_interval_ms, which is 3000"),
        (ConsumerConfig, {"session_timeout_ms": 9, "heartbeat_interval_ms": 9}, "heartbeat_interval_ms, which is 9"),
        (ConsumerConfig, {"partition_assignment_strategy": ["mine"]}, "range, roundrobin, sticky, cooperative-sticky"),
        (ConsumerConfig, {"partition_assignment_strategy": []}, "at least one"),
        (ConsumerConfig, {"isolation_level": "read_committed"}, "transactions"),
        (ConsumerConfig, {"auto_offset_reset": "newest"}, "must be one of latest, earliest, none"),
        (ConsumerConfig, {"max_poll_records": 0}, "1..2147483647"),
        (ConsumerConfig, {"consumer_timeout_ms": math.nan}, "is out of range"),
        (ConsumerConfig, {"check_crcs": "yes"}, "must be True or False"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    kind: type[ClientConfig], configs: dict[str, object], said: str
) -> None:
    with pytest.raises(KafkaConfigurationError) as refused:
        kind.parse(configs)

    assert said in str(refused.value)
    assert refused.value.option in configs


def test_all_is_another_word_for_minus_one() -> None:
    assert ProducerConfig.parse({"acks": "all"}).acks == -1


def test_idempotence_yields_to_acks_unless_it_was_asked_for() -> None:
    assert ProducerConfig.parse({"acks": 1}).enable_idempotence is False
    assert ProducerConfig.parse({"acks": 1, "enable_idempotence": False}).enable_idempotence is False
    with pytest.raises(KafkaConfigurationError, match="enable_idempotence=True"):
        ProducerConfig.parse({"acks": 1, "enable_idempotence": True})
    with pytest.raises(KafkaConfigurationError, match="enable_idempotence=True"):
        ProducerConfig.parse({"retries": 0, "enable_idempotence": True})


@pytest.mark.parametrize(("old", "now"), [("smallest", "earliest"), ("largest", "latest")])
def test_the_reset_words_of_old_kafka_are_read_with_a_warning(old: str, now: str) -> None:
    with pytest.warns(DeprecationWarning, match=now):
        config = ConsumerConfig.parse({"auto_offset_reset": old})

    assert config.auto_offset_reset == now


def test_a_partitioner_may_be_a_function_or_an_object() -> None:
    class Always:
        def partition(self, *_: object) -> int:
            return 0

    assert ProducerConfig.parse({"partitioner": max}).partitioner is max
    assert isinstance(ProducerConfig.parse({"partitioner": Always()}).partitioner, Always)


def test_a_suggestion_is_only_made_for_a_near_name() -> None:
    known = ["retention_ms", "segment_bytes"]

    assert did_you_mean("Retention.MS", known) == "; did you mean 'retention_ms'?"
    assert did_you_mean("colour", known) == ""


@pytest.mark.parametrize("timeout_ms", [-1, -0.5, math.nan])
def test_a_timeout_is_not_negative_and_not_nan(timeout_ms: float) -> None:
    with pytest.raises(IllegalArgumentError, match="timeout_ms"):
        checked_timeout_ms(timeout_ms)


@pytest.mark.parametrize("timeout_ms", ["5", None, True])
def test_a_timeout_is_a_number(timeout_ms: object) -> None:
    with pytest.raises(TypeError, match="timeout_ms"):
        checked_timeout_ms(timeout_ms)
