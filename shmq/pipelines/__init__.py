"""For what is fed with items: the newest one, the one of a given time, those that belong together, a torch dataset.

Owns: the names.
Must never: import torch; `shmq.pipelines.torch` does.
Sits: over consumer.
"""

from .join import Join
from .latest import Latest, Newest
from .matching import Item

__all__ = ["Item", "Join", "Latest", "Newest"]
