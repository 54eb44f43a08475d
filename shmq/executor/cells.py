"""One word of shared memory for each task that lies in the queue: who may run it, and who does.

Owns: the layout of the word, and each step that it may take.
Must never: be written but by a compare-and-swap, except while nobody else knows the task.
Sits: under the pool and the worker, which agree through it alone.

WORD, from its highest bit:   serial 27 | starts 12 | worker 22 | state 2, and a 0 on top

  FREE                             no task; what a delivery of an old one finds
  WAITING   (serial)               in the queue, not started
  STARTED   (serial, starts, worker)   this worker runs it, as the starts-th try
  CANCELLED (serial)               whoever takes it out of the queue says so, and the slot is free again

  WAITING -> STARTED               by a worker, before it runs the task
  STARTED -> STARTED               by the next one that the queue gives a dead worker's task, if retries are left
  WAITING -> CANCELLED             by the parent
  STARTED, CANCELLED -> FREE       by the parent, with the result, the death or the news that it was taken out

So a task is started at most `retries + 1` times, whatever dies when; and one that was only taken by a worker that died
has not been started.
"""

from __future__ import annotations

from multiprocessing.sharedctypes import RawArray
from typing import Any

from shmq._native import cell_cas, cell_load, cell_store

_SLOT_BITS = 12
SLOTS = 1 << _SLOT_BITS
"""Tasks that can lie in the queue at once; the others wait in the parent."""
MOST_STARTS = (1 << 12) - 1

_SERIAL = (1 << 27) - 1
_WORKER = (1 << 22) - 1
_ONE_START = 1 << 24
_FREE, _WAITING, _STARTED, _CANCELLED = range(4)
_STATE = 3
_SLOT = SLOTS - 1


class Cells:
    """The words of all slots, shared with the workers. A task's number is `serial * SLOTS + slot`."""

    def __init__(self) -> None:
        self._words: Any = RawArray("Q", SLOTS)  # goes to children, by inheritance or as a descriptor; no name to leak

    def offer(self, task: int) -> None:
        """A new task in a free slot may be started from here on."""
        cell_store(self._words, (task & _SLOT) << 3, (task >> _SLOT_BITS & _SERIAL) << 36 | _WAITING)

    def start(self, task: int, worker: int, retries: int, is_again: bool) -> bool:
        """Become the one who runs it. False: it is not to be run (cancelled, settled, or started too often).

        Args:
            is_again: The queue has delivered the task before, to a worker that died. If not, and it was started all
                the same, it was sent twice, since Ctrl-C came between sending it and taking note of that.
        """
        words, pos, serial = self._words, (task & _SLOT) << 3, (task >> _SLOT_BITS & _SERIAL) << 36
        mark = serial | (worker & _WORKER) << 2 | _STARTED
        if cell_cas(words, pos, serial | _WAITING, mark | _ONE_START):
            return True
        while True:
            word = cell_load(words, pos)
            starts = self._starts(word, task)
            if not is_again or not 0 < starts <= retries:
                return False
            if cell_cas(words, pos, word, mark | (starts + 1) << 24):
                return True

    def cancel(self, task: int) -> bool:
        """False: it was started, or is settled."""
        return cell_cas(self._words, (task & _SLOT) << 3, _word(task, _WAITING), _word(task, _CANCELLED))

    def is_cancelled(self, task: int) -> bool:
        """Whether the slot still belongs to this task, which was cancelled."""
        return cell_load(self._words, (task & _SLOT) << 3) == _word(task, _CANCELLED)

    def is_started(self, task: int) -> bool:
        """Whether a worker has started it, and it is not settled."""
        return self._starts(cell_load(self._words, (task & _SLOT) << 3), task) > 0

    def starts_by(self, task: int, worker: int) -> int:
        """How often the task was started, if this worker was the last to do so; else 0."""
        word = cell_load(self._words, (task & _SLOT) << 3)
        return self._starts(word, task) if word >> 2 & _WORKER == worker & _WORKER else 0

    def free(self, task: int) -> None:
        """The task is settled: no delivery of it will be run. The parent alone calls this, once."""
        cell_store(self._words, (task & _SLOT) << 3, _FREE)

    @staticmethod
    def _starts(word: int, task: int) -> int:
        """How often the task was started, 0 if this word is not that of a started task, or of another."""
        is_this = word & _STATE == _STARTED and word >> 36 == task >> _SLOT_BITS & _SERIAL
        return word >> 24 & MOST_STARTS if is_this else 0


def _word(task: int, state: int) -> int:
    return (task >> _SLOT_BITS & _SERIAL) << 36 | state
