"""A pool of worker processes that survives the death of any of them.

Owns: `Executor`, the one public name of this room.
Must never: be imported by the queues, which it is built on.
Sits: right of the queues.

How a task goes: `submit` packs it and puts it into one queue, from which any worker takes it; a word of shared memory
for each task (`cells`) says whether it waits, who started it and how often, or that it was cancelled. The results come
through a second queue to one thread of the parent (`manager`), and so do the deaths of workers, which a second thread
(`crew`) watches for: a death is read after all that the dead worker had sent.
"""

from __future__ import annotations

from .executor import Executor

__all__ = ["Executor"]
