"""What child processes of the queue tests run. Spawned ones import it by this name."""

from __future__ import annotations

import logging
import logging.handlers
import os
import threading
from typing import Any


def echo(inbox: Any, outbox: Any) -> None:
    """Send back what comes, until None comes."""
    for item in iter(inbox.get, None):
        outbox.put((os.getpid(), item))


def put_all(queue: Any, items: list[Any]) -> None:
    """Put items one by one."""
    for item in items:
        queue.put(item)


def put_numbered(queue: Any, me: int, count: int) -> None:
    """Put (me, 0), (me, 1), ..."""
    for number in range(count):
        queue.put((me, number))


def do_tasks(queue: Any, done: Any) -> None:
    """Take tasks until None comes, and say of each that it is done."""
    for task in iter(queue.get, None):
        done.put(task)
        queue.task_done()
    queue.task_done()


def hand_on(context: Any, queue: Any, ready: Any) -> None:
    """Start a child that will put something once it is told to, and be gone before that."""
    child = context.Process(target=put_when_told, args=(queue, ready))
    child.start()
    os._exit(0)


def put_when_told(queue: Any, ready: Any) -> None:
    """Put this process's id when an event is set."""
    ready.wait()
    queue.put(os.getpid())


def log_something(queue: Any) -> None:
    """Log through a QueueHandler."""
    logger = logging.Logger("child")
    logger.addHandler(logging.handlers.QueueHandler(queue))
    logger.warning("from %s", "a child")


def take_and_wait(queue: Any, told: Any) -> None:
    """Take an item, say which and how often it was delivered, and wait to be killed."""
    item = queue.get()
    told.put((os.getpid(), item, getattr(queue, "delivery_count", None)))
    threading.Event().wait()


def take_and_die(queue: Any) -> None:
    """Die of each item."""
    while True:
        queue.get()
        os._exit(1)


def square(number: int) -> int:
    """The task of the pools."""
    return number * number
