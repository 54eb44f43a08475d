"""For what is fed with items: the newest one, the one of a given time, a topic as a torch dataset.

Owns: the names.
Must never: import torch; `shmq.pipelines.torch` does.
Sits: over consumer.
"""

from .latest import Latest, Newest

__all__ = ["Latest", "Newest"]
