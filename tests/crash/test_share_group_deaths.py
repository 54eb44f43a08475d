"""A share consumer is killed at its 1st, 2nd, 3rd ... step from joining to leaving; another one finishes its work."""

from __future__ import annotations

import signal

from crew import ENDED, KILLED, Victim, wait_for
from sources import fault_points
from window_taker import WindowTaker

from shmq import AcknowledgeType, ShareConsumer, _native
from shmq.store import QUEUE, Groups, Topics

MOST_POINTS = 1000


def work(address: str) -> None:
    """Join, give one record up, accept the other, and leave."""
    configs = {"group_id": "g", "share_acknowledgement_mode": "explicit", "dead_letter_topic": "dead"}
    with ShareConsumer("t", bootstrap_servers=address, **configs) as consumer:
        while batches := consumer.poll():
            for records in batches.values():
                for record in records:
                    kind = AcknowledgeType.REJECT if record.value == b"bad" else AcknowledgeType.ACCEPT
                    consumer.acknowledge(record, kind)


def victim_of(broker, nth: int) -> Victim:
    def body() -> None:
        _native.fault_arm(None, nth, signal.SIGKILL)
        work(broker.address)
        _native.fault_arm(None, 0)

    return Victim(body)


def holds(broker) -> list[int]:
    """Offsets that groups hold in the topic."""
    topics = Topics(broker.admin.broker)
    with topics.opened(topics.find("t")) as [partition]:
        assert partition.verify() is None
        return [*partition.holds().values()]


def finish(broker) -> dict[str, int]:
    """Do what the victim has left, and return what the group's window says then."""
    work(broker.address)
    [found] = broker.admin.list_share_group_offsets("g")["g"].values()
    return found


def test_whoever_dies_in_a_share_group_loses_no_record_and_no_dead_letter(broker):
    broker.has_deaths = True
    broker.create("dead")
    reached, letters_of = set(), set()
    dead_before = 0
    for nth in range(1, MOST_POINTS):
        broker.create_queue()
        producer = broker.producer()
        producer.send_many("t", [b"bad", b"good"])
        victim = victim_of(broker, nth)
        outcome = victim.wait()
        victim.close()
        reached.add(victim.point)

        found = wait_for(lambda: (each := finish(broker))["lag"] == 0 and each, f"the rest after {victim.point}")

        assert (found["accepted"], found["rejected"], found["skipped"]) == (1, 1, 0), f"at {victim.point}"
        assert holds(broker) == [2], f"at {victim.point}"
        letters = len(broker.values("dead"))
        letters_of.add(letters - dead_before)
        dead_before = letters
        assert broker.admin.list_share_groups()[0]["members"] == 0
        producer.close()
        assert broker.admin.delete_share_groups(["g"]) == [("g", "OK")]
        broker.admin.delete_topics(["t"])
        if outcome == ENDED:
            break
        assert outcome == KILLED
    assert outcome == ENDED
    assert letters_of == {1, 2}  # 2: it died between its dead letter and settling the record
    assert {point for point in fault_points() if point.startswith("window.create")} - reached == set()


def take_all(broker, arm: int = 0) -> int:
    """Take what there is through a window that is a cursor; how much it was."""
    meta = Topics(broker.admin.broker).find("t")
    group = Groups(broker.admin.broker).load("q")
    taker = WindowTaker(broker.admin, group.window_path(meta, 0), group.number)
    _native.fault_arm(None, arm, signal.SIGKILL)
    count = 0
    while taker._take_values(0):
        count += 1
    _native.fault_arm(None, 0)
    taker.end()
    return count


def test_the_hold_of_a_queue_goes_on_wherever_the_taker_of_its_last_item_died(broker):
    broker.has_deaths = True
    group = Groups(broker.admin.broker).make("q", QUEUE)
    lost = set()
    for nth in range(1, MOST_POINTS):
        broker.create_queue()
        meta = Topics(broker.admin.broker).find("t")
        with Topics(broker.admin.broker).opened(meta) as [partition]:
            partition.hold(group.number, 0)
        _native.create_window(group.window_path(meta, 0), meta.topic_id, 0, 0, 1)
        producer = broker.producer()
        producer.send_many("t", [b"1", b"2"])
        victim = Victim(lambda: take_all(broker, nth) and None)  # noqa: B023  # it runs at once
        outcome = victim.wait()
        victim.close()

        left = take_all(broker)

        assert holds(broker) == [2], f"at {victim.point}"
        lost.add(2 - left)
        producer.close()
        broker.admin.delete_topics(["t"])
        if outcome == ENDED:
            break
        assert outcome == KILLED
    assert outcome == ENDED
    assert lost == {0, 1, 2}
