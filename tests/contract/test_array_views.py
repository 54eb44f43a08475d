"""Views of shared memory: how long they live, what they keep, and who may write."""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from shmq import Producer

SEGMENT_BYTES = 65536
RING = {"segment_bytes": SEGMENT_BYTES, "retention_bytes": 2 * SEGMENT_BYTES, "dtype": "float32", "shape": "256"}


def vectors(count, first=0):
    return np.arange(first * 256, (first + count) * 256, dtype=np.float32).reshape(count, 256)


@pytest.fixture(params=["memory", "disk"])
def storage(request):
    return request.param


@pytest.fixture
def views(broker, storage):
    """Three items in place, of a topic that keeps little: the one view there is, to be taken out of this list."""
    broker.create(storage=storage, **RING)
    broker.producer().send_array("t", vectors(3))
    [batch] = broker.consumer("t").poll_arrays().values()
    assert batch.in_place
    views = [batch.items]
    del batch
    yield views
    views.clear()


def overwrite(producer, rounds=3):
    """Send more than the ring holds, several times over."""
    for number in range(rounds * 4):
        producer.send_array("t", np.full((60, 256), -1 - number, np.float32))


def assert_valid(view):
    np.testing.assert_array_equal(view, vectors(3))


def test_a_view_cannot_be_written_through(views):
    view = views[0]
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.reshape(-1)[:5].flags.writeable = True
    assert memoryview(view).readonly


def test_a_view_stays_as_it_is_when_retention_has_passed_it(broker, views):
    view = views[0]
    overwrite(broker.producer())

    assert_valid(view)


def test_a_view_outlives_the_consumer_the_topic_and_the_broker_handles(broker, views):
    view = views.pop()
    part = view[1:2, 10:20]
    del view
    for client in broker._clients:
        client.close()
    broker.admin.delete_topics(["t"])
    gc.collect()

    np.testing.assert_array_equal(part, vectors(3)[1:2, 10:20])


def test_a_view_outlives_the_process_that_wrote_it(broker, storage):
    broker.create(storage=storage, **RING)

    def write():
        with Producer(bootstrap_servers=broker.address) as producer:
            producer.send_array("t", vectors(3))

    child = broker.fork(write)
    child.result()
    [batch] = broker.consumer("t").poll_arrays(20_000).values()
    overwrite(broker.producer())

    assert_valid(batch.items)


def test_a_view_can_be_read_in_a_forked_child_and_outlives_what_the_parent_does(broker, views):
    ready, go = os.pipe()

    def look():
        os.read(ready, 1)
        assert_valid(views[0])
        with pytest.raises(ValueError, match="read-only"):
            views[0][0, 0] = 1
        return float(views[0].sum())

    child = broker.fork(look)
    expected = float(vectors(3).sum())
    views.clear()
    gc.collect()
    overwrite(broker.producer())
    os.write(go, b"x")

    assert child.result() == expected
    os.close(ready)
    os.close(go)


def test_a_pickled_view_is_a_copy(broker, storage):
    broker.create(storage=storage, **RING)
    broker.producer().send_array("t", vectors(3), [b"a", b"b", None], timestamp_ms=9)
    [batch] = broker.consumer("t").poll_arrays().values()

    copy = pickle.loads(pickle.dumps(batch))

    assert_valid(copy.items)
    assert not np.shares_memory(copy.items, batch.items)
    assert (batch.in_place, copy.in_place) == (True, False)
    assert copy.offsets.tolist() == [0, 1, 2]
    assert copy.timestamps.tolist() == [9, 9, 9]
    assert copy.keys == [b"a", b"b", None]
    assert repr(copy) == "<ArrayBatch (3, 256) from offset 0>"


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_arrays_begin_at_64_bytes(broker, storage, count):
    broker.create(storage=storage, dtype="float32", shape="5")
    producer, consumer = broker.producer(), broker.consumer("t")

    for _ in range(10):
        producer.send("t", np.zeros(5, np.float32))
        producer.send_array("t", np.zeros((count, 5), np.float32), [b"key"] * count)
        with producer.reserve("t", count) as array:
            assert array.ctypes.data % 64 == 0
            array[:] = 0

    while batches := consumer.poll_arrays():
        [batch] = batches.values()
        assert batch.items.ctypes.data % 64 == 0


# -- what views keep -----------------------------------------------------------------------------------------------------


def metrics(consumer):
    found = consumer.metrics()["consumer-metrics"]
    return found["kept-segments"], found["kept-bytes"]


@pytest.fixture
def limit():
    """Leaves the limit of this process as it was."""
    yield
    from shmq import _native

    _native.set_kept_limit(1 << 30)


def test_what_views_keep_is_counted(broker, storage):
    broker.create(storage=storage, **RING)
    producer, consumer = broker.producer(), broker.consumer("t")
    producer.send_array("t", vectors(3))
    before = metrics(consumer)

    [batch] = consumer.poll_arrays().values()

    assert metrics(consumer)[0] == before[0] + 1
    assert metrics(consumer)[1] > before[1] + SEGMENT_BYTES * 9 // 10
    part = batch.items[0]
    del batch
    assert metrics(consumer)[0] == before[0] + 1
    del part
    assert metrics(consumer) == before


def test_beyond_the_cap_items_are_copied(broker, storage, limit):
    broker.create(storage=storage, **RING)
    producer = broker.producer()
    consumer = broker.consumer("t", max_pinned_bytes=3 * SEGMENT_BYTES)
    held = []

    for number in range(10):
        producer.send_array("t", vectors(50, first=50 * number))
        held += consumer.poll_arrays().values()

    np.testing.assert_array_equal(np.concatenate([batch.items for batch in held]), vectors(500))
    in_place = [batch.in_place for batch in held]
    assert in_place[0]
    assert not all(in_place)
    assert all(not batch.items.flags.writeable for batch in held)
    assert metrics(consumer)[1] <= 3 * SEGMENT_BYTES
    held.clear()
    producer.send_array("t", vectors(1))
    [batch] = consumer.poll_arrays().values()
    assert batch.in_place


def test_without_any_room_for_views_everything_is_a_copy(broker, storage, limit):
    broker.create(storage=storage, **RING)
    broker.producer().send_array("t", vectors(3))

    [batch] = broker.consumer("t", max_pinned_bytes=0).poll_arrays().values()

    assert not batch.in_place
    assert_valid(batch.items)


def test_status_shows_who_holds_what_the_log_has_no_more(broker, views):
    view = views[0]
    overwrite(broker.producer())

    command = [sys.executable, "-m", "shmq", "--broker", broker.address, "status", "--seconds", "0"]
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True, timeout=60, check=True).stdout)
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    [mine] = [each for each in found["held"] if each["pid"] == os.getpid()]
    assert mine["topic"] == "t"
    assert mine["gone_bytes"] > SEGMENT_BYTES * 9 // 10
    assert mine["mapped_bytes"] >= mine["gone_bytes"]
    assert "gone from the log" in shown
    assert_valid(view)


def test_status_shows_what_is_held_of_a_topic_that_was_deleted(broker, views):
    broker.admin.delete_topics(["t"])

    command = [sys.executable, "-m", "shmq", "--broker", broker.address, "status", "--seconds", "0", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)

    [mine] = [each for each in found["held"] if each["pid"] == os.getpid()]
    assert mine["topic"] is None
    assert mine["gone_bytes"] > SEGMENT_BYTES * 9 // 10


# -- values as memoryviews -----------------------------------------------------------------------------------------------


def test_values_are_memoryviews_on_request(broker, storage):
    place = broker.create(storage=storage, segment_bytes=SEGMENT_BYTES, retention_bytes=2 * SEGMENT_BYTES)
    producer = broker.producer()
    producer.send("t", b"value", key=b"key")
    producer.send_many("t", [b"one", b"", b"three"])
    producer.send("t", None, key=b"only a key")

    consumer = broker.consumer("t", values="memoryview")
    records = consumer.poll()[place]
    for _ in range(50):
        producer.send("t", bytes(10_000))
    consumer.close()
    gc.collect()

    values = [record.value for record in records]
    assert [value if value is None else bytes(value) for value in values] == [b"value", b"one", b"", b"three", None]
    assert all(isinstance(value, memoryview) and value.readonly for value in values[:4])
    assert isinstance(records[0].key, bytes)
    with pytest.raises(TypeError, match="read-only"):
        values[0][0] = 1


def test_values_are_bytes_by_default_and_nothing_else_can_be_asked_for(broker):
    broker.create()
    broker.producer().send("t", b"value")

    assert type(broker.read()[0].value) is bytes
    with pytest.raises(ValueError, match="bytes, memoryview"):
        broker.consumer("t", values="bytearray")


def test_a_deserializer_is_given_the_view(broker):
    place = broker.create()
    broker.producer().send("t", b"12")

    [record] = broker.consumer(
        "t", values="memoryview", value_deserializer=lambda data: (type(data), int(bytes(data)))
    ).poll()[place]

    assert record.value == (memoryview, 12)


def test_iteration_gives_views_too(broker):
    broker.create()
    broker.producer().send("t", b"12")

    assert bytes(next(broker.consumer("t", values="memoryview")).value) == b"12"


def test_values_beyond_the_cap_are_views_of_copies(broker, limit):
    place = broker.create()
    broker.producer().send("t", b"12")

    [record] = broker.consumer("t", values="memoryview", max_pinned_bytes=0).poll()[place]

    assert (bytes(record.value), record.value.readonly) == (b"12", True)
    assert type(record.value.obj) is bytes


# -- other libraries -----------------------------------------------------------------------------------------------------


def test_dlpack_takes_a_view_as_it_is(views):
    view = views.pop()
    if np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("before numpy 2.1 DLPack could not say that an array is read-only")

    taken = np.from_dlpack(view)

    assert np.shares_memory(taken, view)
    assert not taken.flags.writeable
    del view
    gc.collect()
    assert_valid(taken)


def test_arrow_takes_a_view_as_it_is(broker, views):
    view = views.pop()
    arrow = pytest.importorskip("pyarrow")

    buffer = arrow.py_buffer(view)
    array = arrow.Array.from_buffers(arrow.float32(), 3 * 256, [None, buffer])

    assert buffer.address == view.ctypes.data
    assert not buffer.is_mutable
    del view
    gc.collect()
    overwrite(broker.producer())
    assert_valid(array.to_numpy().reshape(3, 256))
    broker.producer().send_array("t", np.frombuffer(buffer, np.float32).reshape(3, 256))


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_torch_takes_a_view_as_it_is(broker, views):
    view = views.pop()
    torch = pytest.importorskip("torch")

    tensor = torch.from_numpy(view)

    assert tensor.data_ptr() == view.ctypes.data
    del view
    gc.collect()
    overwrite(broker.producer())
    assert_valid(tensor.numpy())
    broker.producer().send_array("t", tensor)


def test_a_view_is_no_longer_than_its_items(views):
    """Nothing of the log can be reached through it: neither keys nor other batches."""
    view = views[0]
    base = view
    while isinstance(base, np.ndarray):
        assert base.nbytes == 3 * 1024
        base = base.base
    assert memoryview(base).nbytes == 3 * 1024


def test_a_closed_consumer_in_a_process_that_ends_leaves_no_trace(broker):
    broker.create(storage="memory", **RING)
    broker.producer().send_array("t", vectors(3))

    out = broker.run(
        "import shmq\n"
        "consumer = shmq.Consumer('t', bootstrap_servers=address, auto_offset_reset='earliest')\n"
        "[batch] = consumer.poll_arrays(20_000).values()\n"
        "consumer.close()\n"
        "print(batch.items.sum())\n"
    )

    assert float(out) == float(vectors(3).sum())
