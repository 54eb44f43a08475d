from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from shmq.arrays.checks import as_bytes, checked_item, checked_items
from shmq.config import ItemType
from shmq.errors import TopicTypeError

VECTORS = ItemType("float32", "4")
SCALARS = ItemType("int64")
POINTS = ItemType("[('x', '<f4'), ('y', '<i8')]", "2")
CLOUDS = ItemType("float32", "*,3")
FIELDS = [("x", "<f4"), ("y", "<i8")]


@pytest.mark.parametrize(
    ("item", "array", "shape"),
    [
        (VECTORS, np.zeros((5, 4), np.float32), (5, 4)),
        (VECTORS, np.zeros((0, 4), np.float32), (0, 4)),
        (SCALARS, np.arange(3), (3,)),
        (SCALARS, memoryview(np.arange(3)), (3,)),
        (POINTS, np.zeros((7, 2), FIELDS), (7, 2)),
        (CLOUDS, np.zeros((9, 3), np.float32), (1, 9, 3)),
        (ItemType("datetime64[ns]"), np.zeros(3, "M8[ns]"), (3,)),
    ],
)
def test_an_array_that_fits_is_taken_as_it_is(item: ItemType, array: Any, shape: tuple[int, ...]) -> None:
    items = checked_items("t", item, array)

    assert items.shape == shape
    assert items.size == 0 or np.shares_memory(items, np.asarray(array))
    assert as_bytes(items).nbytes == items.nbytes


def test_what_lends_its_memory_as_an_array_is_taken_as_it_is() -> None:
    class Tensor:
        def __init__(self) -> None:
            self.values = np.zeros((2, 4), np.float32)

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.values

    tensor = Tensor()

    assert np.shares_memory(checked_items("t", VECTORS, tensor), tensor.values)


@pytest.mark.parametrize(
    ("item", "array", "words"),
    [
        (VECTORS, np.zeros((5, 4)), r"has items of float32 \(4,\), not an array of float64 \(5, 4\); nothing was "
         r"appended; convert it: array.astype\('float32'\)"),
        (VECTORS, np.zeros((5, 4), ">f4"), r"byte order is another; array.astype\(array.dtype.newbyteorder\('='\)\)"),
        (VECTORS, np.zeros((5, 4), object), "Python objects"),
        (VECTORS, np.zeros((5, 3), np.float32), r"shape must be \(k, 4\)"),
        (VECTORS, np.zeros(4, np.float32), r"shape must be \(k, 4\); array\[None\] makes it one item"),
        (VECTORS, np.float32(3), r"shape must be \(k, 4\)"),
        (SCALARS, np.arange(6).reshape(2, 3), r"shape must be \(k,\)"),
        (SCALARS, np.int64(3), r"shape must be \(k,\); array\[None\]"),
        (VECTORS, np.zeros((5, 8), np.float32)[:, ::2], "do not lie one after the other"),
        (VECTORS, np.zeros((4, 5), np.float32).T, "ascontiguousarray"),
        (POINTS, np.zeros((5, 2), [("x", "<f4"), ("z", "<i8")]), "convert it: array.astype\\(the topic's dtype\\)"),
        (POINTS, np.zeros((5, 2), np.dtype(FIELDS, align=True)), "convert it"),
        (CLOUDS, np.zeros((9, 4), np.float32), r"shape must be \(n, 3\)"),
        (CLOUDS, np.zeros((0, 3), np.float32), "an item without values has no bytes"),
        (CLOUDS, np.float32(1), r"shape must be \(n, 3\)"),
        (VECTORS, [[1.0, 2.0, 3.0, 4.0]], "object of type list; nothing was appended; make an array of it"),
        (VECTORS, "text", "object of type str"),
        (VECTORS, None, "object of type NoneType"),
    ],
)  # fmt: skip
def test_an_array_that_does_not_fit_is_refused_with_what_to_do(item: ItemType, array: Any, words: str) -> None:
    with pytest.raises(TopicTypeError, match=words) as refused:
        checked_items("features", item, array)

    assert refused.value.topic == "features"
    assert str(item) in refused.value.wanted


@pytest.mark.parametrize(
    ("item", "value", "nbytes"),
    [
        (VECTORS, np.ones(4, np.float32), 16),
        (VECTORS, b"x" * 16, 16),
        (VECTORS, bytearray(16), 16),
        (SCALARS, np.int64(7), 8),
        (CLOUDS, np.ones((2, 3), np.float32), 24),
        (CLOUDS, bytes(36), 36),
    ],
)
def test_one_item_is_an_array_or_bytes_of_its_size(item: ItemType, value: Any, nbytes: int) -> None:
    raw = checked_item("t", item, value)

    assert (raw.dtype, raw.shape) == (np.uint8, (nbytes,))
    assert raw.tobytes() == (bytes(value) if isinstance(value, bytes | bytearray) else value.tobytes())


@pytest.mark.parametrize(
    ("item", "value", "words"),
    [
        (VECTORS, None, "no records without a value"),
        (VECTORS, b"x" * 15, "not 15 bytes; nothing was appended; an item is 16 bytes"),
        (VECTORS, b"", "not 0 bytes"),
        (VECTORS, memoryview(bytes(32))[::2], "one after the other"),
        (VECTORS, np.ones((1, 4), np.float32), r"shape must be \(4,\)"),
        (VECTORS, np.ones(4), "convert it"),
        (SCALARS, 7, "object of type int"),
        (SCALARS, memoryview(np.zeros(1)), "convert it"),
        (CLOUDS, bytes(35), "a multiple of 12 bytes"),
        (CLOUDS, b"", "a multiple of 12 bytes"),
    ],
)
def test_what_is_no_item_is_refused(item: ItemType, value: Any, words: str) -> None:
    with pytest.raises(TopicTypeError, match=words):
        checked_item("t", item, value)


def test_numpy_is_not_imported_before_an_array_is_used(tmp_path) -> None:
    code = (
        f"import sys, shmq; p = shmq.Producer(bootstrap_servers='shm://{tmp_path}/b'); p.send('t', b'v'); p.close(); "
        f"c = shmq.Consumer('t', bootstrap_servers='shm://{tmp_path}/b'); c.poll(); c.close(); print('numpy' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    subprocess.run([sys.executable, "-m", "shmq", "gc", "--broker", f"shm://{tmp_path}/b"], timeout=60, check=True)

    assert (done.stdout, done.stderr) == ("False\n", "")
