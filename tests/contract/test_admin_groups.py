"""Administering groups, from Python and from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from shmq import ConfigResource, OffsetAndMetadata, TopicPartition, errors


def shmq(broker, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shmq", "--broker", broker.address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture
def place(broker):
    place = broker.create(partitions=2)
    producer = broker.producer()
    for number in range(10):
        producer.send("t", b"%d" % number, partition=0, timestamp_ms=1000 + number)
    return place


@pytest.fixture
def member(broker, place, wait_until):
    consumer = broker.consumer("t", group_id="g", client_id="reader")
    wait_until(lambda: consumer.poll(timeout_ms=5) or len(consumer.assignment()) == 2)
    consumer.commit({place: OffsetAndMetadata(4, "note", -1)})
    return consumer


def test_a_group_is_listed_and_described_with_members_and_lag(broker, member, place):
    assert broker.admin.list_groups() == [
        {
            "group_id": "g",
            "group_state": "Stable",
            "members": 1,
            "protocol_type": "consumer",
            "group_type": "consumer",
        }
    ]
    assert broker.admin.list_groups(states_filter=["empty"]) == []
    described = broker.admin.describe_groups(["g"])["g"]
    assert described["group_state"] == "Stable"
    [found] = described["members"]
    assert (found["client_id"], found["pid"]) == ("reader", os.getpid())
    assert found["process"].startswith("py")
    assert found["assignment"] == [["t", 0], ["t", 1]]
    first, second = described["offsets"]
    assert (first["committed"], first["end"], first["lag"], first["member_id"]) == (4, 10, 6, found["member_id"])
    assert (second["committed"], second["end"], second["lag"]) == (None, 0, 0)


def test_committed_offsets_are_listed_without_a_coordinator(broker, member, place):
    member.close()
    broker.kill_coordinator()

    assert broker.admin.list_group_offsets("g")["g"][place].offset == 10
    assert broker.admin.list_group_offsets({"g": [TopicPartition("t", 1)]}) == {
        "g": {TopicPartition("t", 1): OffsetAndMetadata(0, "", -1)}
    }
    assert broker.coordinator() == 0
    with pytest.raises(errors.GroupIdNotFoundError):
        broker.admin.list_group_offsets(["none"])


def test_what_a_member_owns_cannot_be_altered_and_a_group_with_members_not_deleted(broker, member, place):
    with pytest.raises(errors.GroupSubscribedToTopicError, match="'g'"):
        broker.admin.alter_group_offsets("g", {place: OffsetAndMetadata(1, "", -1)})
    assert broker.admin.delete_groups(["g", "none"]) == [("g", "NonEmptyGroupError"), ("none", "GroupIdNotFoundError")]
    with pytest.raises(errors.NonEmptyGroupError, match="1 members"):
        broker.admin.delete_groups(["g"], raise_errors=True)
    assert member.committed(place) == 4


def test_offsets_are_altered_forgotten_and_reset_within_the_log(broker, place):
    admin = broker.admin
    admin.alter_group_offsets("g", {place: OffsetAndMetadata(3, "by hand", -1)})
    assert admin.list_group_offsets("g") == {"g": {place: OffsetAndMetadata(3, "by hand", -1)}}

    def reset(spec, **how):
        return admin.reset_group_offsets("g", {place: spec}, **how)[place]["offset"]

    assert reset({"shift": 2}, dry_run=True) == 5
    assert admin.list_group_offsets("g")["g"][place].offset == 3
    assert reset({"shift": 2}) == 5
    assert admin.list_group_offsets("g")["g"][place] == OffsetAndMetadata(5, "", -1)
    assert reset("earliest") == 0
    assert reset("latest") == 10
    assert reset({"timestamp": 1007}) == 7
    assert reset({"timestamp": 99_999}) == 10
    assert reset({"shift": -100}) == 0
    assert reset(999) == 10
    with pytest.raises(errors.IllegalArgumentError, match="no place in the log"):
        reset("middle")
    admin.alter_group_offsets("g", {place: None})
    assert admin.list_group_offsets("g") == {"g": {}}
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        admin.alter_group_offsets("g", {place: OffsetAndMetadata(1, "", -1), TopicPartition("t", 9): None})
    assert admin.list_group_offsets("g") == {"g": {}}


def test_a_group_that_was_named_beforehand_holds_records_from_there_on(broker):
    place = broker.create_queue()
    broker.admin.alter_group_offsets("g", {place: OffsetAndMetadata(0, "", -1)})
    other = broker.consumer()
    other.assign([place])
    producer = broker.producer(max_block_ms=0)

    with pytest.raises(errors.BufferFullError):
        while True:
            producer.send("t", b"x" * 20_000)
            other.poll(timeout_ms=100)
    assert broker.admin.delete_groups(["g"]) == [("g", "OK")]

    other.poll(timeout_ms=100)
    other.poll()
    producer.send("t", b"x" * 20_000)


def test_members_can_be_expelled(broker, member, wait_until):
    assert broker.admin.remove_group_members("g", ["nobody"]) == 0
    [found] = broker.admin.describe_groups(["g"])["g"]["members"]

    assert broker.admin.remove_group_members("g", [found["member_id"]]) == 1

    assert broker.admin.list_groups()[0]["members"] == 0


def test_a_group_that_was_empty_for_long_is_forgotten(broker, member, place, wait_until):
    broker.admin.alter_configs([ConfigResource("broker", "0", {"offsets_retention_ms": 0})])
    assert (
        broker.admin.describe_configs([ConfigResource("broker", "0")])["broker"]["0"]["offsets.retention.ms"]["value"]
        == "0"
    )
    member.close()
    broker.kill_coordinator()

    wait_until(lambda: broker.admin.list_groups() == [])


def test_the_command_line_shows_resets_and_deletes_groups(broker, member, place):
    assert "Stable" in shmq(broker, "groups", "list").stdout
    shown = shmq(broker, "groups", "describe", "g").stdout
    assert "reader" in shown
    assert str(os.getpid()) in shown
    assert json.loads(shmq(broker, "groups", "describe", "g", "--json").stdout)["g"]["offsets"][0]["lag"] == 6
    refused = shmq(broker, "groups", "reset-offsets", "g", "t", "--to-earliest")
    assert refused.returncode == 1
    assert "close them first" in refused.stderr
    status = json.loads(shmq(broker, "status", "--json", "--seconds", "0").stdout)
    assert status["groups"] == [{"group": "g", "state": "Stable", "members": 1, "lag": 6}]
    assert status["topics"][0]["records"] == 10
    assert os.getpid() in [each["pid"] for each in status["clients"]]
    assert status["coordinator"] == broker.coordinator()
    member.close()

    assert "would be reset" in shmq(broker, "groups", "reset-offsets", "g", "t", "--to-offset", "2", "--dry-run").stdout
    done = shmq(broker, "groups", "reset-offsets", "g", "t", "--partition", "0", "--to-datetime", "1005", "--json")
    assert json.loads(done.stdout)[0]["offset"] == 5
    assert broker.admin.list_group_offsets("g")["g"][place].offset == 5
    assert shmq(broker, "groups", "delete", "g").stdout == "deleted group g\n"
    gone = shmq(broker, "groups", "describe", "g")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "no group 'g'" in gone.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["--to-earliest", "--to-latest"], ["--to-datetime", "noon"], ["--shift-by", "x"], ["--to-offset", "-1"]],
)
def test_a_reset_to_nowhere_is_wrong_usage(broker, place, arguments):
    done = shmq(broker, "groups", "reset-offsets", "g", "t", *arguments)

    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "rror" in done.stderr


def test_status_of_no_broker_makes_none(tmp_path):
    command = [sys.executable, "-m", "shmq", "--broker", f"shm://{tmp_path}/none", "status"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert "no broker" in done.stderr
    assert list(tmp_path.iterdir()) == []
