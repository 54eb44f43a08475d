"""Admin: share groups are listed, described, set back and deleted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from share_workers import LONG_MS, counts, fill, flat, numbers, place, send, some, start_taker

from shmq import AcknowledgeType, errors
from shmq.store import Groups, collect


def test_groups_are_listed_and_described_with_members_and_counts(broker):
    broker.create(partitions=2)
    send(broker, 10)
    assert broker.admin.list_share_groups() == []
    consumer = broker.share_consumer(
        "t", client_id="worker", share_acknowledgement_mode="explicit", max_poll_records=10
    )
    records = flat(consumer.poll())
    for record in records[:3]:
        consumer.acknowledge(record, AcknowledgeType.REJECT)
    consumer.commit_sync()

    listed = {"group_id": "g", "group_state": "Stable", "group_type": "share", "members": 1}
    assert broker.admin.list_share_groups() == [listed]
    described = broker.admin.describe_share_groups(["g"])["g"]
    assert described["members"] == [{"client_id": "worker", "pid": os.getpid(), "topics": ["t"]}]
    assert [(each["topic"], each["partition"], each["end_offset"]) for each in described["offsets"]] == [
        ("t", 0, 5),
        ("t", 1, 5),
    ]
    assert sum(each["lag"] for each in described["offsets"]) == 7
    assert counts(broker) == some(in_flight=7, rejected=3)
    assert broker.admin.list_share_group_offsets({"g": [place(1)]})["g"].keys() == {place(1)}
    consumer.close()
    assert broker.admin.list_share_groups() == [listed | {"group_state": "Empty", "members": 0}]


def test_share_groups_are_no_consumer_groups_and_need_no_coordinator(broker):
    broker.create()
    broker.share_consumer("t")
    assert broker.coordinator() == 0

    assert broker.admin.list_groups() == []
    for call in (
        lambda: broker.admin.list_group_offsets("g"),
        lambda: broker.admin.describe_groups(["g"]),
        lambda: broker.admin.alter_group_offsets("g", {}),
        lambda: broker.admin.delete_groups(["g"], raise_errors=True),
    ):
        with pytest.raises(errors.InconsistentGroupProtocolError, match="it is a share group, not a consumer group"):
            call()
    broker.admin.alter_group_offsets("plain", {})
    with pytest.raises(errors.InconsistentGroupProtocolError, match="it is a consumer group, not a share group"):
        broker.admin.describe_share_groups(["plain"])
    with pytest.raises(errors.GroupIdNotFoundError):
        broker.admin.list_share_group_offsets("none")
    assert [each["group_id"] for each in broker.admin.list_share_groups()] == ["g"]


def test_the_coordinator_does_not_forget_a_share_group(broker, wait_until):
    from shmq import ConfigResource

    broker.create()
    broker.share_consumer("t").close()
    broker.admin.alter_configs([ConfigResource("broker", "0", {"offsets_retention_ms": 0})])
    broker.consumer("t", group_id="plain").close()

    wait_until(lambda: broker.admin.list_groups() == [])
    assert [each["group_id"] for each in broker.admin.list_share_groups()] == ["g"]


def test_a_group_without_members_is_deleted_and_begins_anew(broker):
    broker.create()
    send(broker, 3)
    consumer = broker.share_consumer("t")
    consumer.poll()
    assert broker.admin.delete_share_groups(["g", "none"]) == [
        ("g", "NonEmptyGroupError"),
        ("none", "GroupIdNotFoundError"),
    ]
    with pytest.raises(errors.NonEmptyGroupError, match="1 members"):
        broker.admin.delete_share_groups(["g"], raise_errors=True)
    consumer.commit_sync()
    consumer.close()

    assert broker.admin.delete_share_groups(["g"]) == [("g", "OK")]

    assert broker.admin.list_share_groups() == []
    assert numbers(broker.share_consumer("t").poll()) == [0, 1, 2]


def test_a_deleted_group_holds_no_producer_up(broker):
    broker.create_queue()
    broker.share_consumer("t").close()
    other = broker.consumer("t")
    with broker.producer(max_block_ms=0) as producer:
        assert fill(producer) == 10
        while other.poll(timeout_ms=100):
            pass
        assert fill(producer) == 0

        broker.admin.delete_share_groups(["g"])
        other.poll()

        assert fill(producer) >= 5


def test_a_group_that_was_named_beforehand_holds_records_from_there_on(broker):
    broker.create_queue()
    broker.admin.alter_share_group_offsets("g", {place(): 0})

    with broker.producer(max_block_ms=0) as producer:
        assert fill(producer) == 10

    assert len(flat(broker.share_consumer("t").poll())) == 10


def test_offsets_are_altered_for_a_group_without_members(broker):
    broker.create()
    for number in range(10):
        broker.producer().send("t", b"%d" % number, timestamp_ms=1000 + number)
    alter = broker.admin.alter_share_group_offsets
    with broker.share_consumer("t") as consumer:
        consumer.poll()
        consumer.commit_sync()
        with pytest.raises(errors.NonEmptyGroupError):
            alter("g", {place(): 0})
    for spec, expected in [
        (3, list(range(3, 10))),
        ("earliest", list(range(10))),
        ("latest", []),
        ({"timestamp": 1007}, [7, 8, 9]),
        (999, []),
    ]:
        assert alter("g", {place(): spec}) == {place(): None}
        with broker.share_consumer("t") as consumer:
            assert numbers(consumer.poll()) == expected
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        alter("g", {place(9): 0})
    with pytest.raises(errors.IllegalArgumentError, match="no place in the log"):
        alter("g", {place(): "middle"})


def test_a_topic_in_memory_that_a_reboot_emptied_is_read_from_its_new_beginning(broker):
    broker.create(storage="memory")
    send(broker, 5)
    with broker.share_consumer("t") as consumer:
        assert len(flat(consumer.poll())) == 5
        consumer.commit_sync()
    [directory] = [path for path in Path(f"/dev/shm/shmq-{broker.instance}").iterdir() if path.is_dir()]
    shutil.rmtree(directory)  # as a reboot does

    assert broker.admin.list_share_group_offsets("g") == {"g": {}}
    send(broker, 8)
    assert numbers(broker.share_consumer("t").poll()) == list(range(8))


def test_what_a_deleted_group_had_beside_a_topic_in_memory_is_gone(broker):
    broker.create(storage="memory")
    broker.share_consumer("t").close()
    windows = Path(f"/dev/shm/shmq-{broker.instance}").rglob("*.window")
    assert len([*windows]) == 1

    broker.admin.delete_share_groups(["g"])

    assert [*Path(f"/dev/shm/shmq-{broker.instance}").rglob("*.window")] == []


def test_what_deleted_topics_and_dead_members_left_in_a_group_is_collected(broker):
    broker.create()
    broker.create("other")
    broker.share_consumer("t", "other").close()
    living = broker.share_consumer("t")
    send(broker, 1)
    worker, _ = start_taker(broker)
    worker.kill()
    broker.admin.delete_topics(["other"])
    directory = Path(Groups(broker.admin.broker).load("g").directory)
    assert len([*directory.glob("*.window")]) == len([*directory.glob("*.member")]) == 2

    removed = collect(broker.admin.broker).removed

    assert sum(path.endswith((".window", ".member")) for path in removed) == 2
    assert len([*directory.glob("*.window")]) == len([*directory.glob("*.member")]) == 1
    assert numbers(living.poll(LONG_MS)) == [0]


def test_windows_of_deleted_topics_are_not_shown(broker):
    broker.create()
    broker.share_consumer("t").close()
    broker.admin.delete_topics(["t"])
    broker.create()

    assert broker.admin.list_share_group_offsets("g") == {"g": {}}
