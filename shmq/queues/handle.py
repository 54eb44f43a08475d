"""A queue as an object of one process: opened when it is used, dropped at a fork, closed once.

Owns: what a queue object remembers, and the order in which it lets go of it.
Must never: close anything while another thread is just opening it.
Sits: in queues, over `opened`, `ends` and `takers`; under `putting` and `taking`.
"""

from __future__ import annotations

import math
import pickle
import queue
import threading
import time
import weakref
from typing import Any

from shmq import _native

from .ends import Readiness
from .layout import Shape
from .opened import Opened
from .places import Place, forgetful
from .takers import Taker
from .words import SHUTDOWN

SLICE_MS = 50.0
"""Longest single wait: so long until shutdown(), or close() by another thread, is noticed."""

if hasattr(queue, "ShutDown"):
    ShutDown = queue.ShutDown
else:

    class ShutDown(Exception):  # type: ignore[no-redef]  # noqa: N818  # the standard library's name since 3.13
        """The queue was shut down: nothing more can be put, or taken."""


class Handle(_native.QueueCore):
    """A queue in one process. Threads share it; a forked child opens it anew, when it first uses it."""

    def __init__(self, place: Place, shape: Shape, max_deliveries: int | None = None) -> None:
        self._set_up(place, shape, max_deliveries)
        self._open()
        if place.family is not None:
            weakref.finalize(self, place.release).atexit = False  # places sees to that, in its order

    def _set_up(self, place: Place, shape: Shape, max_deliveries: int | None) -> None:
        self._place = place
        self._shape = shape
        self._max_deliveries = max_deliveries
        self._most_deliveries = math.inf if max_deliveries is None else max_deliveries
        self._closed = self._busy = False
        self._closed_ends: set[str] = set()
        self._opening = threading.RLock()
        self._opened: Opened | None = None
        self._readiness: Readiness | None = None
        self._local = threading.local()
        forgetful.add(self)

    def _closed_error(self) -> Exception:
        return ValueError(f"Queue {self!r} is closed")

    def _nobody_is_left(self) -> bool:
        """Whether nobody can put anything any more."""
        return False

    def _open(self) -> Opened:
        opened = self._opened
        if opened is None:
            with self._opening:
                if self._closed:
                    raise self._closed_error()
                opened = self._opened
                if opened is None:
                    opened = self._opened = Opened(self._place, self._shape)
                    self._busy = self._busy or opened.redelivers
                    self._arm(opened.appender, self._local, opened.words.buffer, SHUTDOWN, pickle.loads)
        return opened

    def _close(self) -> None:
        with self._opening:  # nobody is just opening it
            self._closed = True
            self._drop()
            self._place.release()

    def _forget(self) -> None:
        """Drop what only this process may use: it was forked, or is about to end."""
        self._opening = threading.RLock()
        self._drop()

    def _drop(self) -> None:
        readiness, self._readiness = self._readiness, None
        if readiness is not None:
            readiness.close()
        if self._opened is not None:
            self._opened.close()
        self._disarm()
        self._opened = None
        self._local = threading.local()

    def __del__(self) -> None:
        if hasattr(self, "_opened"):  # else it could not be made
            self._drop()

    def __getstate__(self) -> tuple[Any, ...]:
        return self._place, self._shape, self._max_deliveries

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        place, shape, max_deliveries = state
        self._set_up(place, shape, max_deliveries)
        if place.family is not None:
            weakref.finalize(self, place.release).atexit = False

    def _new_taker(self) -> Taker:
        with self._opening:
            taker = self._local.taker = Taker(self._open())
        return taker

    def _counts(self) -> dict[str, int]:
        try:
            taker: Taker = self._local.taker
        except AttributeError:
            taker = self._new_taker()
        return taker.reader.counts()


def until(block: bool, timeout: float | None) -> float:
    """The time, on the monotonic clock, until which to wait. Raises: TypeError, ValueError: not a number."""
    if not block:
        return 0.0
    if timeout is None:
        return math.inf
    if math.isnan(timeout):
        raise ValueError("timeout is not a number; give seconds, or None for no limit")
    return time.monotonic() + timeout
