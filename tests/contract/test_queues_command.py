"""`shmq queues`: listed, purged and replayed from the shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from share_workers import counts, flat, numbers, send, some

from shmq import AcknowledgeType, _native, cli
from shmq.store import QUEUE, Groups, Topics

RELEASE, REJECT = AcknowledgeType.RELEASE, AcknowledgeType.REJECT
EXPLICIT = {"share_acknowledgement_mode": "explicit"}


@pytest.fixture
def shmq(broker, monkeypatch, capfd):
    """Run a command in this process; its status, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("SHMQ_BROKER", broker.address)
        monkeypatch.setenv("COLUMNS", "200")
        capfd.readouterr()
        status = cli.run(arguments)
        return status, *capfd.readouterr()

    return run


def bury(broker, partitions: int = 2, count: int = 4) -> None:
    """Records of "t" that were rejected into "dead"."""
    broker.create(partitions=partitions)
    producer = broker.producer()
    for number in range(count):
        producer.send("t", b"%d" % number, key=b"k%d" % number, headers=[("h", b"1")], partition=number % partitions)
    with broker.share_consumer("t", **EXPLICIT, dead_letter_topic="dead") as consumer:
        for record in flat(consumer.poll()):
            consumer.acknowledge(record, REJECT, reason="why not")


def test_share_groups_are_listed_with_counts(broker, shmq):
    broker.create(partitions=2)
    send(broker, 9)
    with broker.share_consumer("t", max_poll_records=6, **EXPLICIT) as consumer:
        records = flat(consumer.poll())
        consumer.acknowledge(records[0])
        consumer.acknowledge(records[1], REJECT)
        consumer.acknowledge(records[2], RELEASE, delay_ms=60_000)
        consumer.commit_sync()

        status, out, err = shmq("queues", "list", "--json")

    assert (status, err) == (0, "")
    row = {"ready": 3, "in_flight": 3, "delayed": 1, "accepted": 1, "rejected": 1, "skipped": 0, "lag": 7}
    assert json.loads(out) == [{"group": "g", "topic": "t", **row, "consumers": 1}]
    status, out, _ = shmq("queues", "list")
    assert status == 0
    assert "1 share group" in out
    assert "in flight" in out


def test_named_queues_are_listed_beside_share_groups(broker, shmq):
    broker.create("jobs", storage="memory", retention="consumed")
    group = Groups(broker.admin.broker).make("queue", QUEUE)
    meta = Topics(broker.admin.broker).find("jobs")
    _native.create_window(group.window_path(meta, 0), meta.topic_id, 0, 0, 1)
    send(broker, 3, "jobs")

    listed = json.loads(shmq("queues", "list", "--json")[1])

    assert listed == [{"group": None, "topic": "jobs", **some(ready=3), "lag": 3, "consumers": None}]
    assert "0 share groups, 1 queue" in shmq("queues", "list")[1]


def test_without_share_groups_the_list_is_empty(broker, shmq):
    assert shmq("queues", "list", "--json") == (0, "[]\n", "")


def test_peeking_shows_what_is_not_done_and_takes_nothing(broker, shmq):
    broker.create(partitions=2)
    send(broker, 10)
    consumer = broker.share_consumer("t", max_poll_records=10, **EXPLICIT)
    records = {(each.partition, each.offset): each for each in flat(consumer.poll())}
    consumer.acknowledge(records[0, 1])
    consumer.acknowledge(records[0, 2], RELEASE)
    consumer.acknowledge(records[0, 3], RELEASE, delay_ms=60_000)
    consumer.commit_sync()
    before = counts(broker)

    status, out, err = shmq("queues", "peek", "g", "t", "--max-messages", "4")

    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "0:0\tin_flight\t1\t0",
        "0:2\tready\t1\t4",
        "0:3\tdelayed\t1\t6",
        "0:4\tin_flight\t1\t8",
    ]
    lines = [json.loads(line) for line in shmq("queues", "peek", "g", "t", "--json")[1].splitlines()]
    assert len(lines) == 9
    last = {"partition": 1, "offset": 4, "value": "9", "state": "in_flight", "delivery_count": 1}
    assert last.items() <= {key: value for key, value in lines[-1].items() if key in last}.items()
    assert counts(broker) == before


def test_purging_rejects_what_is_ready_and_says_what_it_leaves(broker, shmq):
    broker.create()
    send(broker, 10)
    consumer = broker.share_consumer("t", max_poll_records=3, **EXPLICIT)
    records = flat(consumer.poll())
    consumer.acknowledge(records[0], RELEASE, delay_ms=60_000)
    consumer.commit_sync()

    status, out, err = shmq("queues", "purge", "g", "t")

    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "purged 7 records of t for share group g",
        "2 records in work: left alone",
        "1 record released for later: left alone",
    ]
    assert counts(broker) == some(rejected=7, in_flight=2, delayed=1)
    assert shmq("queues", "purge", "g", "t")[1].startswith("purged 0 records")


def test_dead_letters_go_back_where_they_came_from_once(broker, shmq):
    bury(broker)
    before = broker.read("t")

    status, out, err = shmq("queues", "replay", "dead")

    assert (status, out, err) == (0, "sent 4 records to t\n", "")
    after = [record for record in broker.read("t") if record not in before]
    fields = [(record.partition, record.key, record.value, record.headers) for record in after]
    assert fields == [(record.partition, record.key, record.value, record.headers) for record in before]
    assert shmq("queues", "replay", "dead") == (0, "nothing to send\n", "")
    assert sorted(numbers(broker.share_consumer("t").poll())) == [0, 1, 2, 3]


def test_dead_letters_can_go_elsewhere_some_at_a_time(broker, shmq):
    bury(broker)
    broker.create("other")

    assert shmq("queues", "replay", "dead", "--to", "other", "--max-messages", "3")[1] == "sent 3 records to other\n"
    assert shmq("queues", "replay", "dead", "--to", "other")[1] == "sent 1 record to other\n"

    assert len(broker.values("other")) == 4
    assert all(record.headers == [("h", b"1")] for record in broker.read("other"))


def test_what_died_twice_goes_back_step_by_step(broker, shmq):
    bury(broker, partitions=1, count=1)
    with broker.share_consumer("dead", **EXPLICIT, group_id="second", dead_letter_topic="deader") as consumer:
        for record in flat(consumer.poll()):
            consumer.acknowledge(record, REJECT)

    assert shmq("queues", "replay", "deader")[1] == "sent 1 record to dead\n"
    assert broker.read("dead")[0].headers == broker.read("dead")[1].headers
    assert shmq("queues", "replay", "dead")[1] == "sent 2 records to t\n"


def test_records_without_an_origin_are_left_and_said_so(broker, shmq):
    bury(broker, partitions=1, count=1)
    send(broker, 2, "dead")
    broker.producer().send("dead", b"x", headers=[("shmq.dead.topic", b"t"), ("shmq.dead.partition", b"x")])

    status, out, err = shmq("queues", "replay", "dead")

    assert (status, out) == (0, "sent 1 record to t\n")
    assert err == "3 records without headers that say where from: --to sends them\n"
    assert counts(broker, "shmq-replay") == some(accepted=1, ready=3)


def test_a_dead_letter_whose_topic_is_gone_is_not_lost(broker, shmq):
    bury(broker, partitions=1, count=1)
    broker.admin.delete_topics(["t"])

    status, _, err = shmq("queues", "replay", "dead")

    assert status == 1
    assert "topic 't' does not exist" in err
    assert counts(broker, "shmq-replay") == some(ready=1)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("purge", "none", "t"), 1, "there is no group 'none'"),
        (("purge", "plain", "t"), 1, "it is a consumer group, not a share group"),
        (("purge", "g", "other"), 1, "share group 'g' has not read other; it reads t"),
        (("peek", "none", "t"), 1, "there is no group 'none'"),
        (("peek", "g", "other"), 1, "share group 'g' has not read other; it reads t"),
        (("peek", "g", "t", "--max-messages", "0"), 2, "0 is not in the range"),
        (("purge", "g"), 2, "Missing argument"),
        (("replay", "none"), 1, "topic 'none' does not exist"),
        (("replay", "no/name"), 1, "cannot name a topic"),
        (("replay", "t", "--to", "none"), 1, "topic 'none' does not exist"),
        (("replay", "t", "--max-messages", "0"), 2, "0 is not in the range"),
        (("fly",), 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_said(broker, shmq, arguments, status, message):
    broker.create()
    send(broker, 1)
    broker.share_consumer("t").close()
    broker.admin.alter_group_offsets("plain", {})

    done, out, err = shmq("queues", *arguments)

    assert (done, out) == (status, "")
    assert message in err
    assert counts(broker) == some(ready=1)


def test_it_is_a_command_of_the_shell(broker):
    command = [sys.executable, "-m", "shmq", "queues", "list", "--broker", broker.address]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "100"})

    assert (done.returncode, done.stderr) == (0, "")
    assert "0 share groups" in done.stdout
