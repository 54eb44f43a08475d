from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmq import errors
from shmq.admin import Admin
from shmq.types import ConfigResource, NewPartitions, NewTopic


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"shm://{tmp_path / 'broker'}"


@pytest.fixture
def admin(address: str) -> Iterator[Admin]:
    with Admin(bootstrap_servers=address) as admin:
        yield admin
        shutil.rmtree(admin.broker.memory_directory, ignore_errors=True)


def options_of(admin: Admin, topic: str, config_filter: str = "all") -> dict[str, str]:
    described = admin.describe_configs([ConfigResource("topic", topic)], config_filter=config_filter)
    return {name: option["value"] for name, option in described["topic"][topic].items()}


@pytest.mark.parametrize(
    "new_topics",
    [
        {"orders": {"num_partitions": 3, "replication_factor": 1, "configs": {"retention.ms": "5000"}}},
        [NewTopic("orders", 3, 1, topic_configs={"retention_ms": 5000})],
        {"orders": {"assignments": {0: [0], 1: [0], 2: [0]}, "configs": {"retention.ms": 5000}}},
    ],
)
def test_a_topic_is_created_from_every_form_of_request(admin: Admin, new_topics: Any) -> None:
    result = admin.create_topics(new_topics)

    (topic,) = result["topics"]
    assert (topic["name"], topic["error_code"], topic["num_partitions"]) == ("orders", 0, 3)
    assert options_of(admin, "orders", "modified") == {"retention.ms": "5000"}
    assert len(admin.describe_topics(["orders"])[0]["partitions"]) == 3


def test_a_name_alone_makes_one_partition_with_defaults(admin: Admin) -> None:
    admin.create_topics(["orders", "b"])

    assert admin.list_topics() == ["b", "orders"]
    assert options_of(admin, "orders", "modified") == {}
    assert options_of(admin, "orders")["segment.bytes"] == str(16 << 20)


@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_a_described_topic_has_kafkas_fields_and_the_logs_figures(admin: Admin, storage: str) -> None:
    admin.create_topics({"orders": {"configs": {"storage": storage}}})

    (topic,) = admin.describe_topics()

    assert (topic["name"], topic["error_code"], topic["is_internal"]) == ("orders", 0, False)
    assert isinstance(topic["topic_id"], uuid.UUID)
    (partition,) = topic["partitions"]
    assert (partition["partition_index"], partition["leader_id"], partition["isr_nodes"]) == (0, 0, [0])
    assert (partition["beginning_offset"], partition["end_offset"], partition["bytes"]) == (0, 0, 0)


def test_an_unknown_topic_is_described_by_kafkas_error_code(admin: Admin) -> None:
    (topic,) = admin.describe_topics(["orders"])

    assert (topic["name"], topic["error_code"], topic["partitions"]) == ("orders", 3, [])


def test_validate_only_creates_nothing(admin: Admin) -> None:
    result = admin.create_topics({"orders": {"num_partitions": 2}}, validate_only=True)

    assert result["topics"][0]["num_partitions"] == 2
    assert admin.list_topics() == []


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        (["old"], errors.TopicAlreadyExistsError, "'old' exists"),
        (["a/b"], errors.InvalidTopicError, "it has '/'"),
        ([".."], errors.InvalidTopicError, "directory's own entry"),
        ([""], errors.InvalidTopicError, "empty"),
        (["x" * 250], errors.InvalidTopicError, "250 characters"),
        ({"t": {"num_partitions": 0}}, errors.InvalidPartitionsError, "1..10000"),
        ({"t": {"num_partitions": "3"}}, TypeError, "must be int, not str"),
        ({"t": {"replication_factor": 3}}, errors.InvalidReplicationFactorError, "replicas do not exist yet"),
        ({"t": {"assignments": {0: [0, 1]}}}, errors.InvalidReplicationFactorError, "replicas do not exist yet"),
        ({"t": {"assignments": {0: [7]}}}, errors.IllegalArgumentError, "only broker 0"),
        ({"t": {"assignments": {1: [0]}}}, errors.InvalidPartitionsError, "leave them out"),
        ({"t": {"configs": {"retention.byts": 1}}}, errors.InvalidConfigurationError, "did you mean 'retention_bytes'"),
        ({"t": {"partitions": 3}}, errors.IllegalArgumentError, "did you mean 'num_partitions'"),
        ({"t": 3}, TypeError, "must be a dict"),
        ("orders", TypeError, "a list of names"),
        ([], errors.IllegalArgumentError, "empty"),
        ([3], TypeError, "not of int"),
    ],
)
def test_what_cannot_be_created_is_refused_and_leaves_nothing(
    admin: Admin, request_: Any, error: type[Exception], said: str
) -> None:
    admin.create_topics(["old"])

    with pytest.raises(error) as refused:
        admin.create_topics(request_)

    assert said in str(refused.value)
    assert admin.list_topics() == ["old"]
    assert os.listdir(admin.broker.creating_directory) == []


def test_one_refused_topic_does_not_keep_the_others_from_being_created(admin: Admin) -> None:
    result = admin.create_topics({"a": {}, "b/c": {}, "d": {}}, raise_errors=False)

    assert admin.list_topics() == ["a", "d"]
    assert [topic["error_code"] for topic in result["topics"]] == [0, 17, 0]
    assert "it has '/'" in result["topics"][1]["error_message"]


def test_names_that_look_like_our_own_files_are_ordinary(admin: Admin) -> None:
    names = [".new-1", "...", "broker.json", "meta.json.new-0011223344556677"]

    admin.create_topics(names)

    assert admin.list_topics() == sorted(names)


@pytest.mark.parametrize("storage", ["disk", "memory"])
def test_a_deleted_topic_is_gone_with_its_files(admin: Admin, storage: str) -> None:
    created = admin.create_topics({"orders": {"configs": {"storage": storage}}, "keep": {}})["topics"][0]

    deleted = admin.delete_topics(["orders"])["topics"][0]

    assert deleted["topic_id"] == created["topic_id"]
    assert admin.list_topics() == ["keep"]
    assert os.listdir(admin.broker.deleting_directory) == []
    assert os.listdir(admin.broker.memory_directory) == ["broker"]


def test_a_topic_can_be_named_by_its_id(admin: Admin) -> None:
    created = admin.create_topics(["orders"])["topics"][0]

    assert admin.describe_topics([created["topic_id"]])[0]["name"] == "orders"
    assert admin.delete_topics([created["topic_id"]])["topics"][0]["name"] == "orders"


def test_a_topic_made_again_is_another_topic(admin: Admin) -> None:
    first = admin.create_topics(["orders"])["topics"][0]["topic_id"]
    admin.delete_topics(["orders"])

    assert admin.create_topics(["orders"])["topics"][0]["topic_id"] != first


def test_deleting_what_is_not_there_suggests_what_is(admin: Admin) -> None:
    admin.create_topics(["orders"])

    with pytest.raises(errors.UnknownTopicOrPartitionError, match="did you mean 'orders'"):
        admin.delete_topics(["order"])


def test_one_name_is_not_taken_for_a_list_of_letters(admin: Admin) -> None:
    with pytest.raises(TypeError, match="must be a list of names"):
        admin.delete_topics("orders")


@pytest.mark.parametrize("storage", ["disk", "memory"])
@pytest.mark.parametrize("total", [4, {"count": 4}, NewPartitions(4)])
def test_partitions_are_added(admin: Admin, storage: str, total: Any) -> None:
    admin.create_topics({"orders": {"num_partitions": 2, "configs": {"storage": storage}}})

    admin.create_partitions({"orders": total})

    assert [each["partition_index"] for each in admin.describe_topics()[0]["partitions"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("total", "error"),
    [(2, errors.InvalidPartitionsError), (1, errors.InvalidPartitionsError), ("4", TypeError)],
)
def test_partitions_are_never_taken_away(admin: Admin, total: Any, error: type[Exception]) -> None:
    admin.create_topics({"orders": {"num_partitions": 2}})

    with pytest.raises(error):
        admin.create_partitions({"orders": total})

    assert len(admin.describe_topics()[0]["partitions"]) == 2


def test_options_are_altered_and_brought_back(admin: Admin) -> None:
    admin.create_topics(["orders"])
    resource = [ConfigResource("topic", "orders", {"retention.ms": "7", "claim_timeout_ms": ("SET", 50)})]

    assert admin.alter_configs(resource) == {"topic": {"orders": "OK"}}
    assert options_of(admin, "orders", "modified") == {"retention.ms": "7", "shmq.claim.timeout.ms": "50"}

    admin.alter_configs([ConfigResource("topic", "orders", {"retention.ms": ("DELETE", None)})])
    assert options_of(admin, "orders", "modified") == {"shmq.claim.timeout.ms": "50"}


def test_a_described_option_has_kafkas_fields(admin: Admin) -> None:
    admin.create_topics({"orders": {"configs": {"retention.ms": 7}}})

    described = admin.describe_configs([ConfigResource("topic", "orders", ["retention_ms"])], include_synonyms=True)

    option = described["topic"]["orders"]["retention.ms"]
    assert (option["value"], option["read_only"], option["config_type"]) == ("7", False, "LONG")
    assert option["config_source"] == "DYNAMIC_TOPIC_CONFIG"
    assert [each["value"] for each in option["synonyms"]] == ["7", "604800000"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"retention.byts": 1}, "did you mean"),
        ({"storage": "memory"}, "for the life of the topic"),
        ({"retention_bytes": "64GiB"}, "ring was created for 1022"),
        ({"retention.ms": ("APPEND", 1)}, "needs an option that is a list"),
        ({"retention.ms": ("INVENT", 1)}, "one of SET, DELETE"),
    ],
)
def test_what_cannot_be_altered_is_refused_and_changes_nothing(
    admin: Admin, changes: dict[str, Any], said: str
) -> None:
    admin.create_topics(["orders"])

    with pytest.raises(ValueError) as refused:
        admin.alter_configs([ConfigResource("topic", "orders", changes)])

    assert said in str(refused.value)
    assert options_of(admin, "orders", "modified") == {}


def test_errors_of_altering_may_be_had_as_results(admin: Admin) -> None:
    result = admin.alter_configs([ConfigResource("topic", "nope", {"retention.ms": 1})], raise_on_unknown=False)

    assert "does not exist" in result["topic"]["nope"]


def test_only_topics_and_the_broker_have_options(admin: Admin) -> None:
    with pytest.raises(errors.IllegalArgumentError, match="topics have options here, and the one broker"):
        admin.describe_configs([ConfigResource("broker", "1")])


def test_a_topic_in_memory_is_there_again_empty_after_a_reboot(admin: Admin) -> None:
    admin.create_topics({"orders": {"num_partitions": 2, "configs": {"storage": "memory"}}})
    for entry in os.listdir(admin.broker.memory_directory):
        if entry != "broker":
            shutil.rmtree(os.path.join(admin.broker.memory_directory, entry))

    (topic,) = admin.describe_topics(["orders"])

    assert topic["error_code"] == 0
    assert [each["end_offset"] for each in topic["partitions"]] == [0, 0]


@pytest.mark.parametrize("timeout_ms", [-1, math.nan])
def test_a_timeout_is_not_negative_and_not_nan(admin: Admin, timeout_ms: float) -> None:
    with pytest.raises(errors.IllegalArgumentError, match="timeout_ms"):
        admin.create_topics(["orders"], timeout_ms=timeout_ms)


def test_a_closed_admin_says_so_and_closes_again(admin: Admin) -> None:
    admin.close()
    admin.close()

    with pytest.raises(errors.ClosedError, match="this Admin is closed"):
        admin.list_topics()


def test_an_admin_is_used_in_a_forked_child(admin: Admin) -> None:
    child = os.fork()
    if child == 0:
        admin.create_topics({"by_child": {"num_partitions": 2}})
        os._exit(0 if len(admin.describe_topics(["by_child"])[0]["partitions"]) == 2 else 1)

    assert os.waitpid(child, 0)[1] == 0
    assert admin.list_topics() == ["by_child"]


def test_of_many_processes_that_create_a_topic_at_once_one_wins(admin: Admin, address: str) -> None:
    code = f"""
from shmq.admin import Admin
result = Admin(bootstrap_servers={address!r}).create_topics({{"t": {{"num_partitions": 3}}}}, raise_errors=False)
print(result["topics"][0]["error_code"])
"""
    creators = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(5)]

    codes = sorted(int(creator.communicate(timeout=60)[0]) for creator in creators)

    assert codes == [0, 36, 36, 36, 36]
    assert len(admin.describe_topics(["t"])[0]["partitions"]) == 3
