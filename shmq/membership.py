"""A consumer's membership in its group: the thread that talks to the coordinator, and what it was told.

Owns: the connection, coming back after the coordinator died, heartbeats, and the newest assignment.
Must never: touch a reader or a user's callback; the consumer asks for news in its own thread. Nor hold up the data
path: whatever the coordinator does, the consumer goes on with what it has.
Sits: over coordination and wire; under the consumer.

INVARIANTS
    M1  `_owned` is what this consumer reads and may commit. Only the consumer's own thread changes it, and it tells the
        coordinator (`done`) only after it has let go. So a partition goes to another member only when this one has
        committed it, or has lost the right to.
    M2  A connection begins with `join`, which says what is owned. What was told on an earlier connection is forgotten.
    M3  News are kept until they are taken; a nudge that comes too early or twice does no harm.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shmq import coordination, wire
from shmq.config import ConsumerConfig
from shmq.errors import CoordinatorNotAvailableError, ShmqError, membership_error
from shmq.groups.events import Place
from shmq.store import Broker

_log = logging.getLogger(__name__)

_FIRST_RETRY_S, _LAST_RETRY_S = 0.02, 1.0
_ONCE_A_S = 10.0  # how often the log says that there is no coordinator


@dataclass(frozen=True)
class Target:
    """What a member may hold: the committed offset's epoch, by partition."""

    number: int
    generation: int
    strategy: str
    epochs: dict[Place, int]


@dataclass(frozen=True)
class News:
    """What has changed since the consumer last asked. `expelled`: why it is no member any more; `error`: never was."""

    target: Target | None = None
    expelled: str | None = None
    error: ShmqError | None = None


@dataclass
class Poll:
    """When the consumer polled last, as this thread saw it: how many polls it has made by then."""

    polls: int = -1
    at: float = field(default_factory=time.monotonic)


class Membership:
    """A member of a group, from its first `subscribe` to `leave`.

    Args:
        broker: Where the coordinator is.
        config: The consumer's.
        client_id: Who it is, for people who look.
        look: Returns how many polls the consumer has made, and whether it is in one; None: it is gone, unclosed.
        nudge: Called from the thread when there are news.
    """

    def __init__(
        self,
        broker: Broker,
        config: ConsumerConfig,
        client_id: str,
        look: Callable[[], tuple[int, bool] | None],
        nudge: Callable[[], None],
    ) -> None:
        assert config.group_id is not None
        self.group_id: str = config.group_id
        self.pid = os.getpid()
        self._broker, self._config, self._client_id = broker, config, client_id
        self._look, self._nudge = look, nudge
        self.member_id = self._new_id()
        self._lock = threading.Lock()
        self._topics: tuple[str, ...] = ()
        self._pattern: str | None = None
        self._owned: list[Place] = []
        self._news = News()
        self._outbox: list[wire.Message] = []
        self._rejoin = self._hang_up = self._is_refused = False
        self._leaving: bool | None = None
        self._leave_by = 0.0
        self._has_joined = self._leave_is_sent = self._has_left = False
        self._poll = Poll()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ended = threading.Event()
        self._said_at = -_ONCE_A_S
        self._thread: threading.Thread | None = None

    # -- from the consumer's thread -----------------------------------------------------------------------------------

    def subscribe(self, topics: tuple[str, ...], pattern: str | None) -> None:
        """Become a member for these topics, or for others than before."""
        with self._lock:
            self._topics, self._pattern = topics, pattern
            self._rejoin, self._is_refused = True, False
            self._news = News()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"shmq-member-{self._client_id}", daemon=True)
            self._thread.start()
        self._ring()

    def take(self) -> News:
        """Return what has come since the last call."""
        with self._lock:
            news, self._news = self._news, News()
            return news

    def put_back(self, news: News) -> None:
        """Undo `take`, unless something newer has come."""
        with self._lock:
            if self._news == News():
                self._news = news

    def own(self, places: list[Place], number: int) -> None:
        """Note what the consumer reads now, and say that it has carried out the target of this number."""
        with self._lock:
            self._owned = places
            self._outbox.append({"type": "done", "number": number})
        self._ring()

    def join_anew(self) -> None:
        """Be a member again, under another id, after having been expelled."""
        with self._lock:
            self.member_id = self._new_id()
            self._owned = []
            # If the old one has come back meanwhile, to a coordinator that did not know of its end, it goes now.
            self._outbox = [{"type": "leave", "for_good": False}]
            self._rejoin, self._hang_up = False, True
        self._ring()

    def leave(self, timeout_s: float, *, for_good: bool) -> None:
        """Tell the coordinator, if it can be told within `timeout_s`, and end the thread. Twice does nothing."""
        if self._bell < 0:
            return
        with self._lock:
            self._leaving, self._leave_by = for_good, time.monotonic() + timeout_s
        if self._thread is not None:
            self._ring()
            self._ended.wait(timeout_s)
            self._thread.join(timeout_s)
        self._close_bell()

    def abandon(self) -> None:
        """After a fork, in the child: forget it all, and tell nobody."""
        self._thread = None
        self._close_bell()

    def _close_bell(self) -> None:
        if self._thread is None or not self._thread.is_alive():  # else it still waits for it: it is the thread's then
            bell, self._bell = self._bell, -1
            os.close(bell)

    def _ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    def _new_id(self) -> str:
        return f"{self._client_id}-{uuid.uuid4()}"

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            retry_s = _FIRST_RETRY_S
            while self._goes_on():
                if self._is_refused:
                    select.select([self._bell], [], [])
                    self._hear_bell()
                    continue
                try:
                    with contextlib.closing(coordination.connect(self._broker, self.group_id)) as connection:
                        retry_s = _FIRST_RETRY_S
                        self._converse(connection)
                except (OSError, wire.FrameError, CoordinatorNotAvailableError) as error:
                    if self._leaving is None:
                        self._say(error)
                    select.select([self._bell], [], [], 0 if self._leaving is not None else retry_s)
                    retry_s = min(2 * retry_s, _LAST_RETRY_S)
        finally:
            self._ended.set()

    def _goes_on(self) -> bool:
        """Until we have said that we leave, if there is anybody who thinks that we are there, and time for it."""
        if self._leaving is None:
            return True
        is_expected = self._has_joined and not self._has_left and not self._is_refused
        return is_expected and time.monotonic() < self._leave_by

    def _say(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._said_at >= _ONCE_A_S:
            self._said_at = now
            _log.warning("group %r: the coordinator is away (%s); going on without it", self.group_id, error)

    def _converse(self, connection: socket.socket) -> None:
        """Speak with one coordinator until it hangs up, or we have left."""
        decoder = wire.Decoder()
        with self._lock:
            self._outbox.clear()  # M2
            self._rejoin, self._hang_up = True, False
        beat_s = self._config.heartbeat_interval_ms / 1000
        look_s = min(beat_s, self._config.max_poll_interval_ms / 3000)
        next_beat = time.monotonic() + beat_s
        while True:
            connection.sendall(self._outgoing())
            if self._leave_is_sent:
                self._wait_for_bye(connection, decoder)
                return
            if self._hang_up or self._is_refused:
                return
            pause_s = max(0.0, min(next_beat - time.monotonic(), look_s))
            both: list[Any] = [connection, self._bell]
            ready = select.select(both, [], [], pause_s)[0]
            if self._bell in ready:
                self._hear_bell()
            if connection in ready:
                received = connection.recv(65536)
                if not received:
                    raise ConnectionResetError("it hung up")
                for message in decoder.feed(received):
                    self._take_in(message)
            age_ms = self._poll_age_ms()
            if time.monotonic() >= next_beat or age_ms > self._config.max_poll_interval_ms:
                connection.sendall(wire.encode({"type": "beat", "poll_age_ms": age_ms}))
                next_beat = time.monotonic() + beat_s

    def _wait_for_bye(self, connection: socket.socket, decoder: wire.Decoder) -> None:
        """Only when it is answered is a leave known to the next coordinator, too. A static member does not say any."""
        if not self._leaving and self._config.group_instance_id is not None:
            self._has_left = True
        while not self._has_left:
            connection.settimeout(max(0.001, self._leave_by - time.monotonic()))
            received = connection.recv(65536)
            if not received:
                raise ConnectionResetError("it hung up")
            self._has_left = any(message["type"] in ("bye", "expel", "error") for message in decoder.feed(received))

    def _hear_bell(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def _outgoing(self) -> bytes:
        """What is to be sent now; with a leave it is all, and `_leave_is_sent`."""
        with self._lock:
            leaving = self._leaving
            messages = list(self._outbox)
            self._outbox.clear()
            if self._rejoin:
                self._rejoin, self._has_joined = False, True
                messages.insert(0, self._join())
            if leaving is not None and (leaving or self._config.group_instance_id is None):
                messages.append({"type": "leave", "for_good": leaving})
            self._leave_is_sent = leaving is not None
        return b"".join(map(wire.encode, messages))

    def _join(self) -> wire.Message:
        config = self._config
        return {
            "type": "join",
            "group": self.group_id,
            "member_id": self.member_id,
            "instance_id": config.group_instance_id,
            "topics": list(self._topics),
            "pattern": self._pattern,
            "strategies": list(config.partition_assignment_strategy),
            "owned": [list(place) for place in self._owned],
            "session_timeout_ms": int(config.session_timeout_ms),
            "max_poll_interval_ms": int(config.max_poll_interval_ms),
            "client_id": self._client_id,
        }

    def _take_in(self, message: wire.Message) -> None:
        kind = message["type"]
        try:
            if kind == "assign":
                epochs = {Place(topic, topic_id, number): epoch for topic, topic_id, number, epoch in message["places"]}
                target = Target(message["number"], message["generation"], message["strategy"], epochs)
                self._tell(News(target=target))
            elif kind == "expel":
                self._tell(News(expelled=message["reason"]))
            elif kind == "error":
                self._is_refused = True
                self._tell(News(error=membership_error(message["error"], self.group_id, message["detail"])))
        except (KeyError, TypeError, ValueError) as error:
            raise wire.FrameError(f"a message of type {kind!r} that cannot be: {error!r}") from None

    def _tell(self, news: News) -> None:
        with self._lock:
            self._news = news
        self._nudge()

    def _poll_age_ms(self) -> int:
        """How long ago the consumer polled; up to a look too short, never too long."""
        seen = self._look()
        if seen is None:
            self._leaving = False
            return 0
        polls, inside = seen
        now = time.monotonic()
        if inside or polls != self._poll.polls:
            self._poll = Poll(polls, now)
        return int((now - self._poll.at) * 1000)
