"""Objects to bytes and back: what travels as it does through multiprocessing, what is not copied, and bad input."""

from __future__ import annotations

import collections
import copyreg
import gc
import io
import multiprocessing
import pickle
import pickletools
import threading
import weakref
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shmq import _native, packing

LARGE = packing.OUT_OF_BAND_BYTES


def through(obj):
    """There and back, as through a large item: the reader has a writable buffer of its own."""
    return packing.loads(bytearray(packing.joined(packing.dumps(obj))))


def address_of(buffer) -> int:
    return np.frombuffer(buffer, np.uint8).ctypes.data


class Point:
    """Pickled by its class's name, with attributes."""

    def __init__(self, x) -> None:
        self.x = x

    def __eq__(self, other) -> bool:
        return type(other) is Point and self.x == other.x


@pytest.fixture
def registered(monkeypatch):
    """Tables of reducers that are as before in the end."""
    monkeypatch.setattr(copyreg, "dispatch_table", copyreg.dispatch_table)
    extra, common = dict(ForkingPickler._extra_reducers), dict(copyreg.dispatch_table)
    yield
    for table, before in ((ForkingPickler._extra_reducers, extra), (copyreg.dispatch_table, common)):
        table.clear()
        table.update(before)
    through(Point(0))  # the packers look again


DTYPES = (
    npst.boolean_dtypes() | npst.integer_dtypes() | npst.floating_dtypes() | npst.array_dtypes(npst.integer_dtypes())
)
"""Without dates of foreign byte order: numpy's own pickles lose it."""

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain)
def test_plain_objects_come_back_equal_and_are_one_part(obj):
    parts = packing.dumps(obj)

    assert len(parts) == 1
    assert packing.loads(packing.joined(parts)) == obj


NUMBERS = st.integers(-(2**70), 2**70) | st.sampled_from(
    [sign * 2**power + near for power in (7, 8, 15, 16, 31, 32, 63, 64) for near in (-1, 0, 1) for sign in (1, -1)]
)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | NUMBERS
        | st.floats()
        | st.text(st.characters(), max_size=400)
        | st.binary(max_size=400),
        lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | NUMBERS, inner),
        max_leaves=10,
    )
)
def test_the_quick_pickles_are_pickles_of_the_same_object(obj):
    quick = _native.pickle_plain(obj)

    for pickled in [] if quick is None else [quick]:
        assert repr(pickle.loads(pickled)) == repr(pickle._loads(pickled)) == repr(obj)
        pickletools.dis(pickled, io.StringIO())


@pytest.mark.parametrize(
    "obj",
    [
        0,
        255,
        -(2**63),
        2**63 - 1,
        -0.0,
        float("inf"),
        None,
        True,
        "",
        "é€😀",
        b"x" * 255,
        (),
        [],
        {},
        ((),) * 3,
        (1, 2, 3, 4),
        {"a": [1, {"b": (2.5, None)}]},
        "x" * 1000,
    ],
)
def test_what_is_plain_is_pickled_the_quick_way(obj):
    quick = _native.pickle_plain(obj)

    assert repr(pickle.loads(quick)) == repr(obj)
    assert packing.dumps(obj) == [quick]


class Whole(int):
    """Pickled as what it is."""


@pytest.mark.parametrize("obj", [Whole(1), 2**63, -(2**63) - 1, 1j, {1}, "x" * 1025, b"x" * 1024, [1] * 600, "\udc80"])
def test_what_is_not_plain_is_left_to_the_pickler(obj):
    assert _native.pickle_plain(obj) is None
    assert through(obj) == obj
    assert type(through(obj)) is type(obj)


def test_an_object_in_two_places_is_one_object_again():
    inner, pair = [1], (1, "x")
    ring: list = [1]
    ring.append(ring)
    deep: list = []
    for _ in range(20):
        deep = [deep]

    lists, tuples, circle = through([inner, inner]), through({"a": pair, "b": [pair]}), through(ring)

    assert lists[0] is lists[1]
    assert tuples["a"] is tuples["b"][0]
    assert circle[1] is circle
    assert through(deep) == deep


@given(
    st.lists(
        npst.arrays(DTYPES, npst.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=40))
        | st.binary(max_size=100).map(lambda seed: (seed + b"x") * 2000),
        max_size=4,
    ),
    st.booleans(),
    st.integers(0, 4096),
)
def test_arrays_and_bytes_come_back_equal_whatever_travels_out_of_band(objects, transposed, least):
    objects = [each.T if transposed and isinstance(each, np.ndarray) else each for each in objects]
    before, packing.OUT_OF_BAND_BYTES = packing.OUT_OF_BAND_BYTES, least
    try:
        back = through(objects)
    finally:
        packing.OUT_OF_BAND_BYTES = before

    for ours, theirs in zip(objects, back, strict=True):
        assert type(ours) is type(theirs)
        if isinstance(ours, np.ndarray):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            assert theirs.flags.writeable or theirs.size == 0
            assert ours.tobytes() == theirs.tobytes()
        else:
            assert ours == theirs


def test_a_large_array_is_not_copied_in_and_is_a_view_of_what_came_in():
    array = np.arange(LARGE, dtype=np.float64)

    parts = packing.dumps({"a": array})
    whole = np.frombuffer(bytearray(packing.joined(parts)), np.uint8)
    back = packing.loads(whole)["a"]

    assert address_of(parts[-1]) == array.ctypes.data
    assert np.shares_memory(back, whole)
    assert (back.ctypes.data - whole.ctypes.data) % 64 == 0
    back += 1
    assert (back == array + 1).all()


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("nested", [False, True])
def test_large_bytes_are_not_copied_in(kind, nested):
    data = kind(2 * LARGE)

    parts = packing.dumps({"deep": [1, (data,)]} if nested else data)

    assert any(part is data for part in parts)
    assert through(data) == data
    assert type(through(data)) is kind


def test_buffers_of_any_kind_travel_out_of_band():
    data = bytearray(b"ab" * LARGE)

    parts = packing.dumps(pickle.PickleBuffer(data))
    back = packing.loads(bytearray(packing.joined(parts)))

    assert address_of(parts[-1]) == address_of(data)
    assert bytes(back) == data
    assert not memoryview(back).readonly


@pytest.mark.parametrize("count", [3, LARGE])
def test_read_only_arrays_arrive_writable_as_through_multiprocessing(count):
    array = np.frombuffer(bytes(8 * count), np.int64).reshape(1, -1)

    back = through(array)
    inline = packing.loads(packing.joined(packing.dumps(array)))

    for each in (back, inline):
        each[0, 0] = 7
        assert each.shape == (1, count)
        assert each.sum() == 7
    assert not array.any()


def test_arrays_with_gaps_structures_objects_and_subclasses_come_back_equal():
    grid = np.arange(100_000).reshape(100, 1000)
    records = np.zeros(10_000, np.dtype([("a", "i4"), ("b", "f8", (2,))]))
    objects = np.array([{"x": 1}, None, "s"], dtype=object)
    masked = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])

    assert (through(grid[:, ::2]) == grid[:, ::2]).all()
    assert through(records).dtype == records.dtype
    assert list(through(objects)) == list(objects)
    assert through(masked).tolist() == [1, None, 3]
    assert through(np.rec.array([(1, 2.5)])).tolist() == [(1, 2.5)]
    assert through(np.asfortranarray(grid)).flags.f_contiguous


def test_the_same_array_twice_is_one_array_again():
    array = np.zeros(LARGE)

    first, second = through([array, array])

    assert first is second


def test_multiprocessing_reducers_apply():
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        there = packing.loads(packing.joined(packing.dumps(theirs)))
        with there:
            there.send("hello")

            assert ours.recv() == "hello"

    assert through(Point(1).__eq__)(Point(1))
    with pytest.raises(RuntimeError, match="only be shared between processes through inheritance"):
        packing.dumps(multiprocessing.Lock())


@pytest.mark.parametrize("register", [ForkingPickler.register, copyreg.pickle])
def test_reducers_that_are_registered_after_the_first_dump_apply(registered, register):
    assert through(Point(1)) == Point(1)

    register(Point, lambda point: (Point, (point.x + 1,)))
    assert through(Point(1)) == Point(2)
    assert through([Point(1)]) == [Point(2)]

    register(Point, lambda point: (Point, (point.x + 5,)))
    assert through(Point(1)) == Point(6)


def test_a_registered_reducer_goes_before_ours_for_arrays(registered):
    assert through(np.arange(3)).tolist() == [0, 1, 2]

    ForkingPickler.register(np.ndarray, lambda array: (list, (array.tolist(),)))

    assert through(np.arange(3)) == [0, 1, 2]
    assert type(through(np.arange(3))) is list


def test_classes_functions_and_their_metaclasses_travel_by_name():
    class_of_classes = type(collections.abc.Mapping)

    assert through([Point, collections.abc.Mapping, class_of_classes, len, test_multiprocessing_reducers_apply]) == [
        Point,
        collections.abc.Mapping,
        class_of_classes,
        len,
        test_multiprocessing_reducers_apply,
    ]


@pytest.mark.parametrize(
    ("obj", "error"),
    [
        (lambda: 0, (pickle.PicklingError, AttributeError)),
        (threading.Lock(), TypeError),
        (io.BytesIO().getbuffer(), TypeError),
        ([1, (x for x in ())], TypeError),
    ],
)
def test_what_cannot_be_pickled_raises_what_pickle_raises_and_leaves_no_trace(obj, error):
    before = packing.dumps((1, 2))

    with pytest.raises(error):
        packing.dumps([np.zeros(LARGE), bytes(LARGE), obj])

    assert packing.dumps((1, 2)) == before


class Packs:
    """Packs something else while it is packed itself."""

    def __reduce__(self):
        inner = packing.joined(packing.dumps([np.arange(LARGE), bytes(LARGE)]))
        return packing.loads, (inner,)


def test_a_reducer_may_pack_itself():
    array, data = through([bytes(LARGE), Packs(), np.ones(LARGE)])[1]

    assert (array == np.arange(LARGE)).all()
    assert data == bytes(LARGE)


def test_threads_pack_at_once():
    def pack(number: int) -> None:
        for round_number in range(200):
            obj = [number, round_number, np.full(LARGE // 8, number), str(number) * round_number]
            back = through(obj)
            results[number] = back[:2] == obj[:2] and (back[2] == number).all() and back[3] == obj[3]
            if not results[number]:
                return

    results = dict.fromkeys(range(4), False)
    threads = [threading.Thread(target=pack, args=(number,)) for number in results]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert all(results.values())


def test_nothing_that_was_packed_is_kept():
    point = Point(np.zeros(LARGE))
    gone = weakref.ref(point)

    packing.dumps(point)
    del point
    gc.collect()

    assert gone() is None


def test_classes_that_come_and_go_are_not_kept_without_end():
    for number in range(2 * packing._MOST_CLASSES):
        made = type("Made", (), {"__reduce_ex__": lambda self, protocol, number=number: (int, (number,))})
        assert through(made()) == number

    assert all(len(each._reducers) <= packing._MOST_CLASSES for each in packing._idle)


packed = packing.joined(packing.dumps([np.arange(LARGE), "x"]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"\x00abc", "4 bytes that begin with 0x00"),
        (packed[:9], "does not fit 9 bytes"),
        (packed[:4] + b"\xff" * 4 + packed[8:], "does not fit"),
        (packed[:-1], "its head says"),
        (packed + b"x", "its head says"),
        (packed[:8] + b"\xff" * 8 + packed[16:], "its head says"),
    ],
)
def test_bytes_that_are_no_packed_form_are_refused_with_the_reason(data, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        packing.loads(data)


@given(st.data())
def test_damaged_bytes_raise_but_never_crash(data):
    damaged = bytearray(packing.joined(packing.dumps([1, "two", b"three", np.arange(3)])))
    damaged[:1] = data.draw(st.sampled_from([b"\x80", b"\x50", b"\x00"]))
    del damaged[data.draw(st.integers(0, len(damaged))) :]

    try:
        packing.loads(damaged)
    except Exception as error:
        assert str(error) or type(error) is EOFError


def test_any_view_of_bytes_is_accepted():
    array = np.arange(LARGE, dtype=np.int64)
    form = packing.joined(packing.dumps(array))

    padded = np.frombuffer(bytearray(form + bytes(-len(form) % 8)), np.int64)
    views = [
        form,
        bytearray(form),
        memoryview(form),
        np.frombuffer(form, np.uint8),
        memoryview(padded).cast("B")[: len(form)],
    ]

    for view in views:
        assert (packing.loads(view) == array).all()
    assert packing.loads(memoryview(packing.joined(packing.dumps(1)))) == 1
