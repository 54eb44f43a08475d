"""Queues with multiprocessing's names, methods and exceptions, on the log.

Owns: Queue, JoinableQueue, SimpleQueue and get_context.
Must never: start a thread or a process that nobody asked for.
Sits: over connection, packing and blobs.
"""

from __future__ import annotations

from .context import get_context
from .handle import ShutDown
from .joinable import JoinableQueue
from .queue import Queue
from .simple import SimpleQueue

__all__ = ["JoinableQueue", "Queue", "ShutDown", "SimpleQueue", "get_context"]
