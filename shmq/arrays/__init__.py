"""Arrays in and out of typed topics.

Owns: checking arrays against what items are, appending them, reserving space for them, and reading them in place.
Must never: copy an array that can be taken as it is, or import numpy before an array is used.
Sits: over placing and subscription; under producer and consumer, which are what is written here and more.
"""

from __future__ import annotations

from shmq.arrays.batch import ArrayBatch

__all__ = ["ArrayBatch"]
