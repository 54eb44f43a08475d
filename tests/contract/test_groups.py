"""Consumers of one group share the partitions of its topics, whoever comes, goes, dies or hangs."""

from __future__ import annotations

import gc
import json
import os
import signal

import pytest

from shmq import Consumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition, _native, errors

FAST = {"session_timeout_ms": 400, "heartbeat_interval_ms": 100}


class Told(ConsumerRebalanceListener):
    """Remembers what it was told, and does something when it is."""

    def __init__(self, on_revoked=None, on_assigned=None):
        self.calls = []
        self._on = {"revoked": on_revoked, "assigned": on_assigned}

    def _note(self, what, places):
        self.calls.append((what, [place.partition for place in places]))
        if self._on.get(what):
            self._on[what](places)

    def on_partitions_revoked(self, revoked):
        self._note("revoked", revoked)

    def on_partitions_assigned(self, assigned):
        self._note("assigned", assigned)

    def on_partitions_lost(self, lost):
        self._note("lost", lost)


def partitions(consumer) -> set[int]:
    return {place.partition for place in consumer.assignment()}


@pytest.fixture
def settle(wait_until):
    """Let consumers poll until each has so many partitions; what they read meanwhile."""

    def settle(*wanted):
        read = []

        def settled():
            for consumer, _ in wanted:
                read.extend(record for records in consumer.poll(timeout_ms=5).values() for record in records)
            return all(len(consumer.assignment()) == count for consumer, count in wanted)

        wait_until(settled)
        return read

    return settle


def fill(broker, count=40, partitions=4, topic="t", **configs):
    broker.create(topic, partitions=partitions, **configs)
    producer = broker.producer()
    for number in range(count):
        producer.send(topic, b"%d" % number, partition=number % partitions)
    return producer


def test_one_member_has_all_partitions_and_reads_all(broker, settle, wait_until):
    fill(broker)
    consumer = broker.consumer("t", group_id="g")

    read = settle((consumer, 4))
    wait_until(lambda: read.extend(r for rs in consumer.poll(timeout_ms=5).values() for r in rs) or len(read) == 40)

    assert sorted(int(record.value) for record in read) == list(range(40))
    assert consumer.subscription() == {"t"}
    metadata = consumer.group_metadata()
    assert (metadata.group_id, metadata.state, metadata.generation_id > 0) == ("g", "stable", True)


def test_members_share_and_take_over_from_one_that_leaves(broker, settle):
    fill(broker)
    first, second = broker.consumer("t", group_id="g"), broker.consumer("t", group_id="g")

    settle((first, 2), (second, 2))
    assert partitions(first) | partitions(second) == {0, 1, 2, 3}
    first.close()

    settle((second, 4))


def test_a_new_member_goes_on_where_the_group_stood(broker, settle):
    producer = fill(broker)
    first = broker.consumer("t", group_id="g")
    got = [int(record.value) for record in settle((first, 4))]
    while len(got) < 40:
        got += [int(record.value) for records in first.poll(timeout_ms=100).values() for record in records]
    first.close()
    producer.send("t", b"40", partition=0)

    second = broker.consumer("t", group_id="g")
    got += [int(record.value) for record in settle((second, 4))]
    while len(got) < 41:
        got += [int(record.value) for records in second.poll(timeout_ms=1000).values() for record in records]

    assert sorted(got) == list(range(41))
    assert {p: second.committed(TopicPartition("t", p)) for p in range(4)} == {0: 10, 1: 10, 2: 10, 3: 10}


def test_groups_do_not_disturb_each_other(broker, settle):
    fill(broker)
    one, two = broker.consumer("t", group_id="one"), broker.consumer("t", group_id="two")

    settle((one, 4), (two, 4))

    one.commit({TopicPartition("t", 0): OffsetAndMetadata(7, "", -1)})
    assert one.committed(TopicPartition("t", 0)) == 7
    assert two.committed(TopicPartition("t", 0)) in (None, 10)


def test_the_listener_is_told_of_what_comes_and_goes_and_of_nothing_that_stays(broker, settle):
    fill(broker)
    told, other = Told(), Told()
    first = broker.consumer(group_id="g", partition_assignment_strategy=["sticky"])
    first.subscribe(["t"], listener=told)
    settle((first, 4))
    assert told.calls == [("assigned", [0, 1, 2, 3])]
    second = broker.consumer(group_id="g", partition_assignment_strategy=["sticky"])
    second.subscribe(["t"], listener=other)

    settle((first, 2), (second, 2))

    revoked = [places for what, places in told.calls if what == "revoked"]
    assert len(revoked) == 1
    assert len(revoked[0]) == 2
    assert ("assigned", revoked[0]) in other.calls
    assert not any(what == "lost" for what, _ in told.calls + other.calls)
    second.close()
    assert other.calls[-1][0] == "revoked"


def test_a_listener_may_use_the_consumer_but_not_close_it(broker, settle):
    fill(broker)
    refused = []

    def rewind(places):
        for place in places:
            consumer.seek(place, 3)
        consumer.commit()
        try:
            consumer.close()
        except errors.IllegalStateError as error:
            refused.append(error)

    consumer = broker.consumer(group_id="g", enable_auto_commit=False)
    consumer.subscribe(["t"], listener=Told(on_assigned=rewind))
    read = settle((consumer, 4))

    assert len(refused) == 1
    assert min((record.offset for record in read), default=3) >= 3
    assert consumer.committed(TopicPartition("t", 2)) == 3


def test_what_a_listener_raises_comes_out_of_poll_and_the_member_goes_on(broker, wait_until):
    fill(broker)

    def fail(_):
        raise ZeroDivisionError

    consumer = broker.consumer(group_id="g")
    consumer.subscribe(["t"], listener=Told(on_assigned=fail))

    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: consumer.poll(timeout_ms=50))
    assert len(consumer.assignment()) == 4
    read = []
    wait_until(lambda: read.extend(consumer.poll(timeout_ms=50).values()) or sum(map(len, read)) == 40)


def test_what_was_healed_in_partitions_that_others_have_now_still_counts(broker, wait_until):
    broker.create("t")
    broker.create("other")
    producer = broker.producer()
    producer.send("t", b"before")

    def die_in_an_append():
        _native.fault_arm("journal.commit.before", 1, signal.SIGKILL)
        broker.producer().send("t", b"never")

    with pytest.raises(AssertionError, match="died without a word"):
        broker.fork(die_in_an_append).result()
    producer.send("t", b"after")
    consumer = broker.consumer("t", group_id="g", auto_offset_reset="earliest")
    read = []
    wait_until(lambda: read.extend(consumer.poll(timeout_ms=50, max_records=1).values()) or len(read) == 2)

    consumer.subscribe(["other"])
    wait_until(lambda: consumer.poll(timeout_ms=50) or consumer.assignment() == {TopicPartition("other", 0)})

    assert consumer.metrics()["consumer-metrics"]["claims-healed-total"] == 1


def test_a_killed_member_is_replaced_at_once(broker, settle):
    fill(broker)
    survivor = broker.consumer("t", group_id="g", session_timeout_ms=60_000)

    def be_a_member():
        consumer = broker.consumer("t", group_id="g", session_timeout_ms=60_000)
        while True:
            consumer.poll(timeout_ms=100)

    child = broker.fork(be_a_member)
    settle((survivor, 2))
    broker.kill(child)

    settle((survivor, 4))


def test_a_stopped_member_loses_its_partitions_cannot_commit_and_comes_back(broker, settle):
    fill(broker)
    survivor = broker.consumer("t", group_id="g", **FAST)
    ready, go = os.pipe()

    def be_stopped():
        consumer = broker.consumer("t", group_id="g", enable_auto_commit=False, **FAST)
        told = Told()
        consumer.subscribe(["t"], listener=told)
        while len(consumer.assignment()) != 2:
            consumer.poll(timeout_ms=10)
        mine = sorted(consumer.assignment())
        os.write(go, b"x")
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            consumer.commit({mine[0]: OffsetAndMetadata(3, "", -1)})
        except errors.CommitFailedError as error:
            failed = str(error)
        while ("lost", [place.partition for place in mine]) not in told.calls or len(consumer.assignment()) != 2:
            consumer.poll(timeout_ms=10)
        os.write(go, json.dumps([failed, [what for what, _ in told.calls]]).encode())
        while True:
            consumer.poll(timeout_ms=10)

    child = broker.fork(be_stopped)
    settle((survivor, 2))
    assert os.read(ready, 1) == b"x"
    settle((survivor, 4))
    child.signal(signal.SIGCONT)
    settle((survivor, 2))

    failed, calls = json.loads(os.read(ready, 1000))
    assert "cannot be committed" in failed
    assert "lost" in calls
    os.close(ready)
    os.close(go)


def test_a_member_that_does_not_poll_loses_its_partitions(broker, settle, wait_until):
    fill(broker)
    lazy = broker.consumer("t", group_id="g", max_poll_interval_ms=300, heartbeat_interval_ms=50)
    settle((lazy, 4))
    busy = broker.consumer("t", group_id="g")

    settle((busy, 4))

    place = TopicPartition("t", 0)
    with pytest.raises(errors.CommitFailedError, match="max_poll_interval_ms"):
        lazy.commit({place: OffsetAndMetadata(1, "", -1)})
    settle((lazy, 2), (busy, 2))


def test_a_static_member_comes_back_to_its_partitions_without_a_rebalance(broker, settle, wait_until):
    fill(broker)
    told = Told()
    other = broker.consumer(group_id="g", partition_assignment_strategy=["sticky"])
    other.subscribe(["t"], listener=told)
    static = broker.consumer("t", group_id="g", group_instance_id="me", partition_assignment_strategy=["sticky"])
    settle((other, 2), (static, 2))
    mine, calls = partitions(static), len(told.calls)

    static.close()
    back = broker.consumer("t", group_id="g", group_instance_id="me", partition_assignment_strategy=["sticky"])
    settle((back, 2), (other, 2))

    assert partitions(back) == mine
    assert len(told.calls) == calls


def test_the_second_consumer_of_a_static_identity_fences_the_first(broker, settle, wait_until):
    fill(broker)
    first = broker.consumer("t", group_id="g", group_instance_id="me")
    settle((first, 4))
    second = broker.consumer("t", group_id="g", group_instance_id="me")

    settle((second, 4))

    with pytest.raises(errors.FencedInstanceIdError, match="'me'"):
        wait_until(lambda: first.poll(timeout_ms=20) and False)
    with pytest.raises(errors.FencedInstanceIdError):
        first.poll()


def test_members_without_a_common_assignor_are_refused(broker, settle, wait_until):
    fill(broker)
    first = broker.consumer("t", group_id="g", partition_assignment_strategy=["range"])
    settle((first, 4))
    second = broker.consumer("t", group_id="g", partition_assignment_strategy=["sticky"])

    with pytest.raises(errors.InconsistentGroupProtocolError, match=r"range.*sticky"):
        wait_until(lambda: second.poll(timeout_ms=20) and False)
    settle((first, 4))


def test_members_beyond_the_partitions_idle_and_are_told_so(broker, settle, wait_until, caplog):
    caplog.set_level("INFO")
    broker.create(partitions=1)
    first = broker.consumer("t", group_id="g")
    settle((first, 1))
    told = Told()
    second = broker.consumer(group_id="g", partition_assignment_strategy=["range"])
    second.subscribe(["t"], listener=told)

    wait_until(lambda: first.poll(timeout_ms=5) or second.poll(timeout_ms=5) or told.calls)

    assert len(first.assignment()) + len(second.assignment()) == 1
    assert "more members than partitions" in caplog.text


def test_new_partitions_and_new_topics_that_match_are_picked_up(broker, settle):
    broker.create("log-1", partitions=2)
    broker.create("other")
    consumer = broker.consumer(group_id="g")
    consumer.subscribe(pattern="log-.*")
    settle((consumer, 2))

    broker.create("log-2")
    broker.admin.create_partitions({"log-1": 3})
    settle((consumer, 4))

    assert consumer.subscription() == {"log-1", "log-2"}
    broker.admin.delete_topics(["log-2"])
    settle((consumer, 3))


def test_a_topic_that_is_made_later_is_picked_up(broker, settle):
    consumer = broker.consumer("later", group_id="g", allow_auto_create_topics=False)
    consumer.poll(timeout_ms=10)
    assert consumer.assignment() == set()

    broker.create("later", partitions=2)

    settle((consumer, 2))


def test_a_subscription_can_be_changed_and_given_up(broker, settle):
    broker.create("a", partitions=2)
    broker.create("b", partitions=3)
    consumer = broker.consumer("a", group_id="g")
    settle((consumer, 2))

    consumer.subscribe(["b"])
    settle((consumer, 3))
    assert {place.topic for place in consumer.assignment()} == {"b"}
    consumer.unsubscribe()

    assert consumer.assignment() == set()
    assert consumer.subscription() is None
    other = broker.consumer("b", group_id="g")
    settle((other, 3))


def test_subscribing_and_assigning_exclude_each_other(broker, settle):
    place = broker.create()
    subscribed, assigned = broker.consumer("t", group_id="g"), broker.consumer(group_id="g2")
    assigned.assign([place])

    with pytest.raises(errors.IllegalStateError, match="unsubscribe"):
        subscribed.assign([place])
    with pytest.raises(errors.IllegalStateError, match="unsubscribe"):
        assigned.subscribe(["t"])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, errors.IllegalArgumentError),
        ({"topics": ["t"], "pattern": "t"}, errors.IllegalArgumentError),
        ({"pattern": "("}, errors.IllegalArgumentError),
        ({"topics": "t"}, TypeError),
        ({"topics": [3]}, TypeError),
        ({"topics": ["t"], "listener": print}, TypeError),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(broker, arguments, error):
    consumer = broker.consumer(group_id="g")

    with pytest.raises(error):
        consumer.subscribe(**arguments)


def test_without_a_group_subscribing_reads_all_partitions(broker):
    fill(broker)
    consumer = broker.consumer()
    consumer.subscribe(pattern="t")

    assert len(consumer.assignment()) == 4
    with pytest.raises(errors.IllegalStateError, match="group_id"):
        consumer.commit()
    with pytest.raises(errors.IllegalStateError, match="group_id"):
        consumer.committed(TopicPartition("t", 0))
    assert consumer.group_metadata().group_id is None
    assert broker.coordinator() == 0


@pytest.mark.parametrize("name", ["a/b", "..", "☃" * 50, "\n", "x" * 900])
def test_a_group_may_have_any_name(broker, settle, name):
    fill(broker)
    consumer = broker.consumer("t", group_id=name)

    settle((consumer, 4))
    consumer.commit()

    assert broker.admin.list_topics() == ["t"]


def test_a_child_that_inherits_a_member_is_none(broker, settle):
    fill(broker)
    consumer = broker.consumer("t", group_id="g")
    settle((consumer, 4))

    def use():
        try:
            consumer.poll()
        except errors.ForkedError:
            consumer.close()
            return True
        return False

    assert broker.fork(use).result()
    settle((consumer, 4))
    consumer.commit()


def test_a_consumer_that_is_dropped_unclosed_leaves_its_group(broker, settle):
    fill(broker)
    dropped = Consumer("t", bootstrap_servers=broker.address, group_id="g", heartbeat_interval_ms=50)
    settle((dropped, 4))
    broker.has_deaths = True
    del dropped
    gc.collect()
    other = broker.consumer("t", group_id="g")

    settle((other, 4))


def test_producers_wait_for_a_group_with_and_without_members(broker, settle, wait_until):
    place = broker.create_queue()
    producer = broker.producer(max_block_ms=0)
    consumer = broker.consumer("t", group_id="g", enable_auto_commit=False)
    settle((consumer, 1))

    def fill_up():
        sent = 0
        with pytest.raises(errors.BufferFullError):
            while True:
                producer.send("t", b"x" * 20_000)
                sent += 1
        return sent

    assert fill_up() == 4
    consumer.close()
    assert fill_up() == 0
    back = broker.consumer("t", group_id="g", enable_auto_commit=False)
    read = settle((back, 1))
    wait_until(lambda: read.extend(r for rs in back.poll(timeout_ms=5).values() for r in rs) or len(read) == 4)
    assert [record.offset for record in read] == [0, 1, 2, 3]
    assert fill_up() == 0
    back.commit({place: OffsetAndMetadata(2, "", -1)})
    assert fill_up() == 2
    back.commit()
    assert fill_up() == 2


def test_a_group_member_that_fills_the_topic_it_reads_is_told_at_once(broker, settle):
    broker.create_queue()
    consumer = broker.consumer("t", group_id="g")
    settle((consumer, 1))
    producer = broker.producer(max_block_ms=60_000)

    with pytest.raises(errors.BufferFullError) as full:
        while True:
            producer.send("t", b"x" * 20_000)

    assert full.value.self_wait


def test_a_commit_carries_a_note(broker, settle):
    place = broker.create(partitions=1)
    consumer = broker.consumer("t", group_id="g", enable_auto_commit=False)
    settle((consumer, 1))

    consumer.commit({place: OffsetAndMetadata(5, "after breakfast ☕", -1)})

    assert consumer.committed(place, metadata=True) == OffsetAndMetadata(5, "after breakfast ☕", -1)
    consumer.commit({place: OffsetAndMetadata(6, "", -1)})
    assert consumer.committed(place, metadata=True) == OffsetAndMetadata(6, "", -1)
    assert [name for name in os.listdir(broker.directory / "groups" / "g") if name.endswith(".note")] == []
    with pytest.raises(errors.IllegalArgumentError, match="4096"):
        consumer.commit({place: OffsetAndMetadata(7, "x" * 4097, -1)})


def test_an_asynchronous_commit_calls_back_with_the_next_poll(broker, settle):
    place = broker.create(partitions=1)
    consumer = broker.consumer("t", group_id="g", enable_auto_commit=False)
    settle((consumer, 1))
    calls = []

    future = consumer.commit_async({place: OffsetAndMetadata(3, "", -1)}, lambda *call: calls.append(call))
    refused = consumer.commit_async({TopicPartition("t", 9): OffsetAndMetadata(3, "", -1)}, lambda *c: calls.append(c))

    assert future.succeeded()
    assert isinstance(refused.exception, errors.CommitFailedError)
    assert calls == []
    consumer.poll()
    assert calls[0] == ({place: OffsetAndMetadata(3, "", -1)}, None)
    assert isinstance(calls[1][1], errors.CommitFailedError)
    assert consumer.committed(place) == 3


def test_positions_are_committed_now_and_then_and_the_callback_is_told(broker, settle, wait_until):
    fill(broker, partitions=1, count=5)
    told = []
    consumer = broker.consumer(
        "t", group_id="g", auto_commit_interval_ms=20, default_offset_commit_callback=lambda *call: told.append(call)
    )
    settle((consumer, 1))

    wait_until(lambda: consumer.poll(timeout_ms=5) or consumer.committed(TopicPartition("t", 0)) == 5)

    assert told[-1][1] is None


def test_partitions_assigned_by_hand_go_on_where_the_group_committed(broker):
    place = broker.create()
    producer = broker.producer()
    for number in range(5):
        producer.send("t", b"%d" % number)
    first = broker.consumer(group_id="g")
    first.assign([place])
    first.poll(timeout_ms=1000, max_records=2)
    first.close()

    second = broker.consumer(group_id="g", auto_offset_reset="none")
    second.assign([place])

    assert second.position(place) == 2
    assert broker.coordinator() == 0


def test_no_commit_and_no_reset_is_an_error_of_poll(broker, settle):
    broker.create()
    consumer = broker.consumer("t", group_id="g", auto_offset_reset="none")

    with pytest.raises(errors.NoOffsetForPartitionError):
        settle((consumer, 1))
        consumer.poll(timeout_ms=100)
