"""Options of the consumer that bound what one poll takes, how long it waits for more, and what it checks."""

from __future__ import annotations

import functools
import os
import threading
import time
from pathlib import Path

import pytest

from shmq import TopicPartition, errors
from shmq.store.files import file_lock

LONG_MS = 60_000


def send(broker, count: int, bytes_each: int = 1000, partition: int = 0) -> None:
    producer = broker.producer()
    for _ in range(count):
        producer.send("t", b"x" * bytes_each, partition=partition)


@pytest.fixture
def send_singly(broker, wait_until):
    """`send_singly(consumer, rows)`: a thread sends (value, partition), each once `consumer` waits again."""
    threads = []
    producer = broker.producer()

    def start(consumer, rows):
        def work():
            for value, partition in rows:
                before = consumer._slept
                producer.send("t", value, partition=partition)
                wait_until(functools.partial(went_on, consumer, before))

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def went_on(consumer, before: int) -> bool:
    return consumer._slept > before or not consumer._is_inside


def sizes(consumer) -> list[dict[int, int]]:
    """How many records of each partition each poll gives, until there are none."""
    found = []
    while batches := consumer.poll():
        found.append({place.partition: len(records) for place, records in batches.items()})
    return found


# -- how much one poll takes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["fetch_max_bytes", "max_partition_fetch_bytes"])
@pytest.mark.parametrize(("limit", "records"), [(0, 1), (1, 1), (1000, 1), (1001, 2), (3000, 3), (1 << 20, 10)])
def test_a_poll_ends_with_the_record_that_reaches_the_limit(broker, option, limit, records):
    broker.create()
    send(broker, 10)

    first = broker.consumer("t", **{option: limit}).poll()

    assert [len(batch) for batch in first.values()] == [records]


def test_max_partition_fetch_bytes_bounds_each_partition_and_fetch_max_bytes_all_of_them(broker):
    broker.create(partitions=3)
    for partition in range(3):
        send(broker, 6, partition=partition)

    each = sizes(broker.consumer("t", max_partition_fetch_bytes=2000))
    together = sizes(broker.consumer("t", fetch_max_bytes=4000))
    both = sizes(broker.consumer("t", max_partition_fetch_bytes=2000, fetch_max_bytes=3000))

    assert each == [{0: 2, 1: 2, 2: 2}] * 3
    assert [sum(poll.values()) for poll in together] == [4, 4, 4, 4, 2]
    assert all(sum(poll.values()) <= 3 and max(poll.values()) <= 2 for poll in both)
    assert sum(sum(poll.values()) for poll in both) == 18


def test_keys_count_like_values(broker):
    broker.create()
    for _ in range(4):
        broker.producer().send("t", b"v" * 10, key=b"k" * 990)

    assert sizes(broker.consumer("t", fetch_max_bytes=2000)) == [{0: 2}, {0: 2}]


def test_empty_records_are_bounded_by_their_number(broker):
    broker.create()
    send(broker, 20, bytes_each=0)

    assert sizes(broker.consumer("t", fetch_max_bytes=1, max_poll_records=8)) == [{0: 8}, {0: 8}, {0: 4}]


# -- how long a poll waits for more ----------------------------------------------------------------------------------


def test_a_poll_waits_for_fetch_min_bytes(broker, send_singly):
    place = broker.create()
    consumer = broker.consumer("t", fetch_min_bytes=3000, fetch_max_wait_ms=LONG_MS)
    send_singly(consumer, [(b"x" * 1000, 0)] * 3)

    records = consumer.poll(timeout_ms=LONG_MS)[place]

    assert [record.offset for record in records] == [0, 1, 2]


def test_it_waits_no_longer_than_fetch_max_wait_ms_once_there_is_a_record(broker):
    place = broker.create()
    send(broker, 1)
    consumer = broker.consumer("t", fetch_min_bytes=1 << 30, fetch_max_wait_ms=60)
    began = time.monotonic()

    records = consumer.poll(timeout_ms=LONG_MS)[place]

    assert len(records) == 1
    assert 0.06 <= time.monotonic() - began < 10


def test_fetch_max_wait_ms_begins_with_the_first_record(broker, wait_until):
    place = broker.create()
    consumer = broker.consumer("t", fetch_min_bytes=1 << 30, fetch_max_wait_ms=100)
    producer = broker.producer()
    began, sent = time.monotonic(), []

    def work():
        wait_until(lambda: time.monotonic() > began + 0.15)
        producer.send("t", b"v")
        sent.append(time.monotonic())

    sender = threading.Thread(target=work)
    sender.start()
    records = consumer.poll(timeout_ms=LONG_MS)[place]
    ended = time.monotonic()
    sender.join(20)

    assert len(records) == 1
    assert 0.09 <= ended - sent[0] < 10


def test_it_waits_no_longer_than_its_timeout(broker):
    place = broker.create()
    send(broker, 2)
    consumer = broker.consumer("t", fetch_min_bytes=1 << 30, fetch_max_wait_ms=LONG_MS)
    began = time.monotonic()

    records = consumer.poll(timeout_ms=60)[place]

    assert len(records) == 2
    assert 0.06 <= time.monotonic() - began < 10


@pytest.mark.parametrize(
    "options", [{"fetch_min_bytes": 1 << 30}, {"fetch_min_bytes": 1 << 30, "fetch_max_wait_ms": 0}]
)
def test_it_does_not_wait_for_more_when_it_is_not_to_wait_at_all(broker, options):
    place = broker.create()
    send(broker, 2)
    consumer = broker.consumer("t", **options)

    records = consumer.poll(timeout_ms=LONG_MS if "fetch_max_wait_ms" in options else 0)[place]

    assert len(records) == 2
    assert consumer.metrics()["consumer-metrics"]["sleep-total"] == 0


@pytest.mark.parametrize(
    "limit",
    [{"max_poll_records": 3}, {"fetch_max_bytes": 3000}, {"max_partition_fetch_bytes": 3000}],
    ids=["max_poll_records", "fetch_max_bytes", "max_partition_fetch_bytes"],
)
def test_it_does_not_wait_for_what_it_could_not_take(broker, limit):
    place = broker.create()
    send(broker, 10)
    consumer = broker.consumer("t", fetch_min_bytes=1 << 30, fetch_max_wait_ms=LONG_MS, **limit)

    assert [len(consumer.poll(timeout_ms=LONG_MS)[place]) for _ in range(3)] == [3, 3, 3]


@pytest.mark.parametrize("fetch_min_bytes", [0, 1])
def test_an_empty_record_is_a_record(broker, fetch_min_bytes):
    place = broker.create()
    send(broker, 1, bytes_each=0)

    consumer = broker.consumer("t", fetch_min_bytes=fetch_min_bytes, fetch_max_wait_ms=LONG_MS)

    assert len(consumer.poll(timeout_ms=LONG_MS)[place]) == 1


def test_the_records_that_were_waited_for_keep_their_order(broker, send_singly):
    broker.create(partitions=2)
    consumer = broker.consumer("t", fetch_min_bytes=8, fetch_max_wait_ms=LONG_MS, spin_us=0)
    send_singly(consumer, [(b"%d" % number, number % 2) for number in range(8)])

    batches = consumer.poll(timeout_ms=LONG_MS)

    assert {place.partition: b"".join(record.value for record in records) for place, records in batches.items()} == {
        0: b"0246",
        1: b"1357",
    }


def test_a_partition_gives_no_more_than_its_share_however_often_the_poll_comes_back_to_it(broker, send_singly):
    place = broker.create()
    consumer = broker.consumer(
        "t", fetch_min_bytes=1 << 30, fetch_max_wait_ms=LONG_MS, max_partition_fetch_bytes=2500, spin_us=0
    )
    send_singly(consumer, [(b"x" * 1000, 0)] * 6)

    records = consumer.poll(timeout_ms=LONG_MS)[place]

    assert [record.offset for record in records] == [0, 1, 2]


def test_without_spinning_a_wait_sleeps_at_once(broker):
    broker.create()
    sleeping, spinning = broker.consumer("t", spin_us=0), broker.consumer("t", spin_us=1_000_000)

    sleeping.poll(timeout_ms=20)
    spinning.poll(timeout_ms=20)

    assert sleeping.metrics()["consumer-metrics"]["sleep-total"] >= 1
    assert spinning.metrics()["consumer-metrics"]["sleep-total"] == 0 or os.cpu_count() == 1


# -- CRCs ------------------------------------------------------------------------------------------------------------


def damage(broker, storage: str = "disk") -> TopicPartition:
    """Three records, each a batch of its own, of which the second was changed in the file."""
    place = broker.create(storage=storage)
    producer = broker.producer()
    for value in (b"first", b"needle", b"third"):
        producer.send("t", value)
    directory = Path(broker.directory) if storage == "disk" else Path(f"/dev/shm/shmq-{broker.instance}")
    (segment,) = directory.rglob("*.segment")
    with segment.open("r+b") as file:
        file.seek(segment.read_bytes().index(b"needle"))
        file.write(b"n")
        file.write(b"o")
    return place


def test_a_changed_byte_is_found_behind_the_records_before_it_and_can_be_passed(broker):
    place = damage(broker)
    consumer = broker.consumer("t")

    before = [record.value for record in consumer.poll()[place]]
    for call in (consumer.poll, lambda: next(consumer)):
        with pytest.raises(errors.CorruptSegmentError, match=r"\.segment at byte \d+: .*shmq verify") as raised:
            call()
    position = consumer.position(place)
    consumer.seek(place, position + 1)

    assert before == [b"first"]
    assert not raised.value.retriable
    assert position == 1
    assert [record.value for record in consumer.poll()[place]] == [b"third"]


def test_without_check_crcs_it_is_not_looked_for(broker):
    damage(broker)

    assert [record.value for record in broker.read(check_crcs=False)] == [b"first", b"noedle", b"third"]


def test_a_topic_without_crcs_has_none_to_check(broker):
    damage(broker, storage="memory")

    assert broker.values() == [b"first", b"noedle", b"third"]


# -- making topics ---------------------------------------------------------------------------------------------------


def test_request_timeout_ms_bounds_the_wait_for_another_administrator(broker):
    consumer = broker.consumer(request_timeout_ms=30)

    with (
        file_lock(os.path.join(broker.directory, "admin.lock"), 0),
        pytest.raises(errors.KafkaTimeoutError, match="30 ms"),
    ):
        consumer.assign([("new", 0)])

    assert consumer.topics() == set()


def test_an_unknown_option_is_refused_with_what_was_meant(broker):
    with pytest.raises(errors.KafkaConfigurationError, match="did you mean 'max_poll_records'"):
        broker.consumer(max_pol_records=5)


@pytest.mark.parametrize("group_id", ["x" * 1025, "\ud800"])
def test_a_group_that_cannot_be_named_so_is_refused_by_that_error_and_nothing_is_left(broker, group_id):
    with pytest.raises(errors.InvalidGroupIdError, match="no name for a group"):
        broker.consumer("t", group_id=group_id)
    with pytest.raises(errors.InvalidGroupIdError, match="no name for a group"):
        broker.share_consumer("t", group_id=group_id)
