from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmq.partitioner import (
    Cluster,
    DefaultPartitioner,
    StickyPartitioner,
    as_partitioner,
    check_choice,
    murmur2,
    partition_of_key,
)

FOUR = Cluster({"t": 4})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 275646681),
        (b"a", 2731586172),
        (b"ab", 316155434),
        (b"abc", 479470107),
        (b"abcd", 2971317748),
        (b"abcde", 461995741),
        (b"shmq shared memory", 3331593160),
        (bytes(range(256)), 2346620022),
    ],
)
def test_murmur2_is_kafkas(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected
    assert murmur2(bytearray(data)) == expected
    assert murmur2(memoryview(data)) == expected


@given(st.binary(max_size=64), st.integers(1, 1000))
def test_a_key_always_goes_to_one_of_the_partitions(key: bytes, partitions: int) -> None:
    chosen = partition_of_key(key, partitions)

    assert 0 <= chosen < partitions
    assert chosen == partition_of_key(key, partitions)


@pytest.mark.parametrize("kind", [DefaultPartitioner, StickyPartitioner])
def test_both_partitioners_place_keys_alike(kind: Callable[[], Any]) -> None:
    assert kind().partition("t", "abc", b"abc", None, None, FOUR) == (479470107 & 0x7FFFFFFF) % 4


def test_without_keys_the_default_spreads_over_all_partitions() -> None:
    partitioner = DefaultPartitioner()

    assert {partitioner.partition("t", None, None, None, None, FOUR) for _ in range(400)} == {0, 1, 2, 3}


def test_without_keys_the_sticky_one_stays_until_a_new_batch() -> None:
    partitioner = StickyPartitioner()

    first = partitioner.partition("t", None, None, None, None, FOUR)
    same = {partitioner.partition("t", None, None, None, None, FOUR) for _ in range(20)}
    partitioner.on_new_batch("t", FOUR, first)
    moved = partitioner.partition("t", None, None, None, None, FOUR)
    partitioner.on_new_batch("t", FOUR, first)  # stale: another thread has moved on already

    assert same == {first}
    assert moved != first
    assert partitioner.partition("t", None, None, None, None, FOUR) == moved


def test_a_function_may_choose() -> None:
    asked = []

    def choose(key: bytes | None, everything: list[int], available: list[int]) -> int:
        asked.append((key, everything, available))
        return everything[-1]

    assert as_partitioner(choose).partition("t", "k", b"k", None, None, FOUR) == 3
    assert asked == [(b"k", [0, 1, 2, 3], [0, 1, 2, 3])]


def test_an_object_with_kafka_pythons_method_is_used_as_it_is() -> None:
    own = DefaultPartitioner()

    assert as_partitioner(own) is own
    assert isinstance(as_partitioner(None), StickyPartitioner)


def test_an_unknown_topic_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="'other'"):
        DefaultPartitioner().partition("other", None, None, None, None, FOUR)


@pytest.mark.parametrize("chosen", [4, -1, None, "0", True, 1.0])
def test_a_choice_that_is_no_partition_is_a_value_error(chosen: object) -> None:
    with pytest.raises(ValueError, match="the partitioner chose"):
        check_choice(chosen, "t", 4)
