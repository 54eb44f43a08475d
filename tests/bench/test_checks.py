"""The checks: a benchmark that loses a record, or takes it for another, says so."""

from __future__ import annotations

import itertools
from collections import namedtuple

import numpy as np
import pytest

from bench.children import ChildError
from bench.roles.arrays import END, LOOK, take_sums
from bench.roles.fanout import Stream, make_take
from bench.roles.rolls import WARM_RECORDS, take_all
from bench.suites.rolls import Run, find_spans, records_each
from bench.values import WrongValueError, make_pool, pick_check

Record = namedtuple("Record", "partition offset value")
Place = namedtuple("Place", "partition")


@pytest.mark.parametrize("size_bytes", [8, 100, 65536])
def test_a_pool_is_taken_whole_and_then_its_end(size_bytes):
    pool = make_pool(size_bytes)
    values = iter([*pool.values, pool.marker])
    take = pick_check(pool)

    assert [take(values, pool), take(values, pool)] == [len(pool.values), 0]


@pytest.mark.parametrize("size_bytes", [8, 100, 65536])
@pytest.mark.parametrize("damage", ["lost", "doubled", "swapped", "cut"])
def test_a_record_that_is_not_the_next_one_is_found(size_bytes, damage):
    pool = make_pool(size_bytes)
    first, second, third, *rest = pool.values
    sent = {
        "lost": [first, third, *rest],
        "doubled": [first, first, second, third, *rest],
        "swapped": [second, first, third, *rest],
        "cut": [first, second[:-1], third, *rest],
    }[damage]

    with pytest.raises(WrongValueError):
        pick_check(pool)(iter(sent), pool)


def poll_of(*batches):
    found = iter(batches)
    return lambda timeout_ms: next(found)


def test_readers_of_many_partitions_end_with_the_marker_of_each():
    pool = make_pool(100)
    parts = {number: [Record(number, 0, value) for value in pool.values[number::2]] for number in range(2)}
    ends = {Place(number): [Record(number, 0, pool.marker)] for number in range(2)}
    half = {Place(number): records[:5] for number, records in parts.items()}
    rest = {Place(number): records[5:] for number, records in parts.items()}
    take = make_take(poll_of(half, {}, rest, ends), Stream("", "t", 2, 100), 2)

    assert [take(), take(), take()] == [10, len(pool.values) - 10, 0]


def test_a_marker_in_the_middle_of_a_pass_is_a_loss():
    pool = make_pool(100)
    batch = {Place(0): [Record(0, 0, pool.values[0]), Record(0, 1, pool.marker)]}

    with pytest.raises(WrongValueError, match="partition 0 offset 1"):
        make_take(poll_of(batch), Stream("", "t", 1, 100), 1)()


def arrays_of(numbers):
    return iter([np.full(4, number, "uint64") for number in numbers])


def test_arrays_are_taken_up_to_the_last():
    arrays, numbers = arrays_of([*range(1, LOOK + 1), END]), itertools.count(1)

    assert [take_sums(arrays, numbers, 4), take_sums(arrays, numbers, 4)] == [LOOK, 0]


def test_a_lost_array_is_found():
    with pytest.raises(WrongValueError, match="expected array 2, whose sum is 8, got one of 12"):
        take_sums(arrays_of([1, 3]), itertools.count(1), 4)


def test_the_open_loop_notices_a_value_out_of_turn():
    records = [Record(0, 0, b"a"), Record(0, 1, b"c")]

    with pytest.raises(WrongValueError, match="from offset 0 on"):
        take_all(poll_of({0: records}), 0, iter([b"a", b"b"]), b"end")


def test_latency_counts_from_when_a_record_was_due_and_rolls_are_picked_out():
    returned_ns = [1010, 1230, 1320]  # due at 1000, 1100, 1200: the second was held up, and the third behind it
    taken = [(500, 0, WARM_RECORDS), (1300, WARM_RECORDS, 2), (1400, WARM_RECORDS + 2, 1)]
    bases = [WARM_RECORDS - 4, WARM_RECORDS + 1, WARM_RECORDS + 6]

    spans = find_spans(Run(1000, 100, returned_ns, taken, bases), rolling=True)

    assert spans == {"delivered": [200, 200, 300], "sent": [10, 120, 130], "rolling": [130]}


@pytest.mark.parametrize("bases", [[0], [0, 5, 12]])
def test_segments_of_unlike_length_are_refused(bases):
    with pytest.raises(ChildError):
        records_each(bases)
