"""Share groups: any number of consumers on one partition, each record with one of them at a time.

Owns: the public name of this room, `ShareConsumer`.
Must never: need a coordinator.
Sits: over connection, producer (for dead letters) and the core's windows. Source: KIP-932.
"""

from __future__ import annotations

from shmq.share.consumer import ShareConsumer

__all__ = ["ShareConsumer"]
