"""The connections of a coordinator: who is at the other end, which member it is, and what it says.

Owns: greeting, checking what comes, limits, and noticing deaths.
Must never: believe a client about who it is, or keep more of what it says than a frame.
Sits: over keeper and wire; under the service, which gives it an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Callable
from typing import Any

import psutil

from shmq import wire
from shmq.coordination import peer_of
from shmq.coordinator.keeper import Keeper
from shmq.coordinator.requests import answer
from shmq.errors import ShmqError
from shmq.groups.events import Beat, Died, Done, Event, Join, Leave, Place
from shmq.store import Broker, check_group_name

_log = logging.getLogger(__name__)

MAX_UNREAD_BYTES = 1 << 20
"""A client that leaves so much of what it is told unread is hung up on; it comes back and is told anew."""
_GREETING_S = 30.0


class Sessions:
    """All connections, and which member each of them carries; `away` are members whose connection has broken."""

    def __init__(self, broker: Broker, term: int) -> None:
        self.term = term
        self.open: set[Session] = set()
        self.members: dict[tuple[str, str], Session] = {}
        self.away: dict[tuple[str, str], Session] = {}
        self.changed: Callable[[], object] = lambda: None
        self.keeper = Keeper(broker, term, self.tell)

    def tell(self, group: str, member_id: str, message: wire.Message) -> None:
        """Send a member something, if it is connected."""
        session = self.members.get((group, member_id))
        if session is not None:
            session.send(message)
            if message["type"] in ("expel", "error"):
                session.forget()


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._decoder = wire.Decoder()
        self._transport: asyncio.Transport | None = None
        self._greeted = False
        self._member: tuple[str, str] | None = None
        self._pidfd = -1
        self.pid = 0
        self._impatience: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Someone has connected: only the user whose broker this is may."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.pid, uid = peer_of(transport.get_extra_info("socket"))
        if uid != os.geteuid():
            _log.warning("user %d was turned away", uid)
            transport.abort()
            return
        self._sessions.open.add(self)
        self._sessions.changed()
        self._impatience = asyncio.get_running_loop().call_later(_GREETING_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Bytes have come. Whoever does not speak the protocol is told so, and hung up on."""
        try:
            for message in self._decoder.feed(data):
                self._take_in(message)
        except wire.FrameError as error:
            self._refuse("InvalidRequestError", str(error))
        except (KeyError, TypeError, ValueError) as error:
            self._refuse("InvalidRequestError", f"a message with fields that cannot be: {error!r}")

    def connection_lost(self, error: Exception | None) -> None:
        """It is closed. A member whose process lives may come back; pidfds tell of those that do not."""
        del error
        self._sessions.open.discard(self)
        if self._impatience is not None:
            self._impatience.cancel()
        if self._member is not None and self._pidfd >= 0:
            self._sessions.members.pop(self._member, None)
            self._sessions.away[self._member] = self  # a death closes files before the pidfd tells of it
        else:
            self.forget()
        self._sessions.changed()

    # -- talking -------------------------------------------------------------------------------------------------------

    def send(self, message: wire.Message) -> None:
        """Send something, unless the other side has stopped to read."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(wire.encode(message))
        if transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            _log.warning("process %d does not read what it is told; hanging up", self.pid)
            transport.abort()

    def forget(self) -> None:
        """It carries no member any longer."""
        if self._member is not None:
            for sessions in (self._sessions.members, self._sessions.away):
                if sessions.get(self._member) is self:
                    del sessions[self._member]
            self._member = None
        self._close_pidfd()

    def close(self) -> None:
        """Hang up, once all is sent."""
        if self._transport is not None:
            self._transport.close()

    def _refuse(self, error: str, detail: str) -> None:
        self.send({"type": "error", "error": error, "detail": detail})
        self.close()

    def _take_in(self, message: wire.Message) -> None:
        kind = message["type"]
        if self._transport is None or self._transport.is_closing():
            return
        if not self._greeted:
            if kind != "hello" or message["protocol"] != wire.PROTOCOL:
                spoken = f"this coordinator speaks protocol {wire.PROTOCOL}; restart the client or the coordinator"
                self._refuse("UnsupportedVersionError", spoken)
                return
            self._greeted = True
            assert self._impatience is not None
            self._impatience.cancel()
            self.send({"type": "welcome", "protocol": wire.PROTOCOL, "term": self._sessions.term, "pid": os.getpid()})
        elif kind == "join":
            self._join(message)
        elif kind == "request":
            self._answer(message)
        elif self._member is not None:
            self._apply(_event(kind, self._member[1], message))
            if kind == "leave":
                self.send({"type": "bye"})
                self.forget()
                self.close()
        elif kind not in ("beat", "done", "leave"):  # these may come just after an expulsion
            raise wire.FrameError(f"no message is called {kind!r}")

    def _join(self, message: wire.Message) -> None:
        join = self._checked_join(message)
        keeper = self._sessions.keeper
        try:
            group = check_group_name(message["group"])
            kept = keeper.open(group)
            keeper.look_at_topics()
        except ShmqError as error:
            self._refuse(type(error).__name__, str(error))
            return
        if self._member is not None and self._member != (group, join.member_id):
            self._refuse("InvalidRequestError", "one connection carries one member")
            return
        for sessions in (self._sessions.members, self._sessions.away):
            before = sessions.get((group, join.member_id))
            if before is not None and before is not self:
                before.forget()
                before.close()
        self._member = group, join.member_id
        self._sessions.members[self._member] = self
        self._watch()
        keeper.apply(kept, join)

    def _checked_join(self, message: wire.Message) -> Join:
        pattern = message["pattern"]
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"pattern: {error}") from None
        return Join(
            member_id=_text(message["member_id"]),
            instance_id=None if message["instance_id"] is None else _text(message["instance_id"]),
            topics=tuple(map(_text, message["topics"])),
            pattern=pattern,
            strategies=tuple(map(_text, message["strategies"])),
            owned=_places(message["owned"]) if self._member is None else None,
            session_timeout_ms=_number(message["session_timeout_ms"]),
            max_poll_interval_ms=_number(message["max_poll_interval_ms"]),
            client_id=_text(message["client_id"]),
            pid=self.pid,
            process=_process_name(self.pid),
        )

    def _apply(self, event: Event) -> None:
        assert self._member is not None
        keeper = self._sessions.keeper
        kept = keeper.kept.get(self._member[0])
        if kept is not None:
            keeper.apply(kept, event)

    def _answer(self, message: wire.Message) -> None:
        reply: dict[str, Any] = {"type": "reply", "id": message["id"]}
        try:
            reply["result"] = answer(self._sessions.keeper, _text(message["name"]), dict(message["arguments"]))
        except ShmqError as error:
            reply |= {"error": type(error).__name__, "values": list(error.args), "detail": str(error)}
        self.send(reply)

    # -- deaths --------------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._pidfd >= 0 or self.pid == 0:
            return
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:  # dead already: connection_lost comes next
            return
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_death)

    def _on_death(self) -> None:
        if self._member is not None:
            _log.info("group %r: process %d of %s is dead", *self._member[:1], self.pid, self._member[1])
            self._apply(Died(self._member[1]))
        self.forget()
        if self._transport is not None:
            self._transport.abort()

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def _event(kind: str, member_id: str, message: wire.Message) -> Event:
    if kind == "beat":
        return Beat(member_id, _number(message["poll_age_ms"]))
    if kind == "done":
        return Done(member_id, _number(message["number"]))
    if kind == "leave":
        return Leave(member_id, bool(message["for_good"]))
    raise wire.FrameError(f"no message is called {kind!r}")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is no number of 0 or more")
    return value


def _places(values: Any) -> tuple[Place, ...]:
    return tuple(Place(_text(topic), _number(topic_id), _number(partition)) for topic, topic_id, partition in values)


def _process_name(pid: int) -> str:
    try:
        return psutil.Process(pid).name() if pid else ""
    except psutil.Error:
        return ""
