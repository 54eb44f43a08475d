"""The coordinator as a whole: one per broker, from its lock to its end.

Owns: the event loop, what is done every now and then, and when to leave.
Must never: do anything without the lock.
Sits: over tenure, sessions and keeper; `__main__` and the command line call it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time

from shmq.coordinator.sessions import Session, Sessions
from shmq.coordinator.tenure import listening, tenure
from shmq.coordinator.upkeep import Upkeep
from shmq.errors import ShmqError
from shmq.groups.events import Tick
from shmq.store import Broker, collect, open_broker

_log = logging.getLogger(__name__)

LINGER_S = 10.0
_SHORTEST_TICK_S, _LONGEST_TICK_S = 0.02, 1.0
_FORGET_EVERY_S = 60.0


def serve(directory: str, *, linger_s: float | None = LINGER_S) -> bool:
    """Be the coordinator of the broker in `directory`; False if there is one already.

    Args:
        directory: The broker's.
        linger_s: Leave when nobody was connected for so many seconds; None: stay until SIGTERM or SIGINT.

    Raises:
        NotABrokerError, BrokerNotFoundError, StorageError: see `open_broker`.
    """
    broker = open_broker(directory, create=False)
    try:
        with tenure(broker.directory) as term:
            if term is None:
                return False
            _log.info("coordinator of %s, term %d", broker.directory, term)
            asyncio.run(_Service(broker, term, linger_s).run())
            _log.info("coordinator of %s leaves", broker.directory)
            return True
    finally:
        broker.close()


class _Service:
    def __init__(self, broker: Broker, term: int, linger_s: float | None) -> None:
        self._broker, self._linger_s = broker, linger_s
        self._sessions = Sessions(broker, term)
        self._keeper = self._sessions.keeper
        self._upkeep = Upkeep(broker)
        self._end = asyncio.Event()
        self._leaving: asyncio.TimerHandle | None = None
        self._forget_at = time.monotonic()

    async def run(self) -> None:
        """Until nobody needs it, or it is told to end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end.set)
        self._sessions.changed = self._consider_leaving
        with listening(self._broker.directory) as socket:
            server = await loop.create_unix_server(lambda: Session(self._sessions), sock=socket)
            self._consider_leaving()
            ticking = loop.create_task(self._tick())
            await self._end.wait()
            server.close()
            for session in list(self._sessions.open):
                session.close()
            await ticking
        self._upkeep.close()

    def _consider_leaving(self) -> None:
        """Leave once nobody has been connected for a while."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if not self._sessions.open and self._linger_s is not None:
            self._leaving = asyncio.get_running_loop().call_later(self._linger_s, self._end.set)

    async def _tick(self) -> None:
        """What no client asks for: sessions that are over, new topics, groups that are long gone."""
        while not self._end.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), self._pause_s())
            if not os.path.exists(os.path.join(self._broker.directory, "broker.json")):
                _log.warning("%s is gone, and with it this coordinator", self._broker.directory)
                self._end.set()
                return
            try:
                self._keeper.look_at_topics()
                self._upkeep.look_after(self._keeper.metas.values())
                for kept in self._keeper.with_members():
                    self._keeper.apply(kept, Tick())
                if time.monotonic() >= self._forget_at:
                    self._forget_at = time.monotonic() + _FORGET_EVERY_S
                    self._keeper.forget_old_groups()
                    collect(self._broker)
            except ShmqError as error:
                _log.error("%s", error)

    def _pause_s(self) -> float:
        """A quarter of the shortest session, so that it is over in time."""
        shortest = self._keeper.shortest_timeout_ms() / 4000
        return max(_SHORTEST_TICK_S, min(shortest, _LONGEST_TICK_S))
