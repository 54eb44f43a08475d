"""The records that are sent, and how a receiver checks them.

A pool is a short list of values, sent over and over: making a value must cost less than moving it. Each value starts
and (from 16 bytes) ends with its sequence number, random bytes in between. The number of values is a prime, so that
losing or doubling any round number of records puts the receiver out of step at once; the end marker and the two
counts catch the rest.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MIN_SIZE_BYTES = 8
PRIMES = (1021, 509, 251, 127, 61, 31, 13, 7, 5)
POOL_BYTES = 128 * 1024  # the source stays in the cache, as a value that was just made would be
WHOLE_BYTES = 1024  # up to here every byte of every record is compared; above it both ends and the length


class WrongValueError(Exception):
    """A receiver got something other than what was sent next."""


@dataclass(frozen=True)
class Pool:
    """The values of one record size, in sending order, and the marker that follows the last record."""

    size_bytes: int
    values: tuple[bytes, ...]
    marker: bytes


def make_pool(size_bytes: int, count: int = 0) -> Pool:
    """Return the pool for one record size (at least MIN_SIZE_BYTES), of `count` values; the same in every process."""
    count = count or next((prime for prime in PRIMES if prime * size_bytes <= POOL_BYTES), PRIMES[-1])
    return Pool(size_bytes, tuple(make_value(number, size_bytes) for number in range(count)), b"\xff" * size_bytes)


def make_value(number: int, size_bytes: int) -> bytes:
    """Return the value with one sequence number."""
    stamp = number.to_bytes(8, "little")
    if size_bytes < 16:
        return stamp.ljust(size_bytes, b"-")
    return stamp + random.Random(number).randbytes(size_bytes - 16) + stamp


def pick_check(pool: Pool) -> Callable[[Iterator[bytes], Pool], int]:
    """Return the check for this record size."""
    return take_whole if pool.size_bytes <= WHOLE_BYTES else take_ends


def take_whole(values: Iterator[bytes], pool: Pool) -> int:
    """Take one pool's worth of values and compare every byte; return how many, 0 at the end marker."""
    value = b""
    for expected, value in zip(pool.values, values, strict=False):
        if value != expected:
            return judge(value, expected, pool)
    return count_bytes_objects(value, pool)


def take_ends(values: Iterator[bytes], pool: Pool) -> int:
    """As `take_whole`, but compare length, first 8 and last 8 bytes only."""
    size_bytes = pool.size_bytes
    value = b""
    for expected, value in zip(pool.values, values, strict=False):
        if len(value) != size_bytes or value[:8] != expected[:8] or value[-8:] != expected[-8:]:
            return judge(value, expected, pool)
    return count_bytes_objects(value, pool)


def judge(value: bytes, expected: bytes, pool: Pool) -> int:
    """Return 0 for the end marker in its place; raise WrongValueError for anything else."""
    if value == pool.marker and expected is pool.values[0]:
        return 0
    raise WrongValueError(
        f"expected record {expected[:8].hex()} of {len(expected)} bytes, got {bytes(value[:8]).hex()} of {len(value)}"
    )


def count_bytes_objects(last: bytes, pool: Pool) -> int:
    """Return the size of the pool, having looked once per pool that a value really is `bytes`."""
    if type(last) is not bytes:
        raise WrongValueError(f"expected bytes, got {type(last).__name__}")
    return len(pool.values)
