"""Producer, Consumer and ShareConsumer for asyncio, in aiokafka's shape.

Owns: the public names.
Must never: block the event loop.
Sits: over the public clients.
"""

from __future__ import annotations

from shmq.aio.consumer import Consumer
from shmq.aio.producer import Producer
from shmq.aio.share import ShareConsumer

__all__ = ["Consumer", "Producer", "ShareConsumer"]
