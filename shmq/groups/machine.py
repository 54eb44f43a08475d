"""A consumer group as a state machine: events go in, effects come out.

Owns: who is a member, who may hold which place, and when a place may go to somebody else.
Must never: know a clock, a socket, a file or an offset.
Sits: over `members` and `assignors`; a coordinator feeds it, saves it, and carries the effects out, in that order.

RULES
    R1  A place is owned by one member at most. It is given only when nobody owns it, and always with a `Raise` before
        the `Assign`: whoever thinks that he still has it can not commit, however wrong we were about him.
    R2  It becomes nobody's when its owner says so (`Done`, or a `Join` that does not list it), or is a member no
        longer; the latter with a `Raise` at once. Nobody waits for anything else: what does not move never pauses.
    R3  Members and target change together, as one generation. A place that is owned outside the target is revoked: its
        owner is told an `Assign` without it. If a later target gives it back before the owner answered, it keeps it.
    R4  Answers carry the number of the `Assign` they answer, because they cross with newer ones. An answer
        frees what was revoked by then, also what the member never knew that it had; it says nothing about a place that
        was revoked later, or given back.
    R5  A coordinator may die after saving, with any effects not carried out. So what was saved is a claim, not a fact:
        a member that is back has what the state AND it itself say. What only the state says, was given and never
        arrived, or was let go of; it is nobody's. What only it says was taken away; its next `Assign` tells it so. A
        lost `Raise` does no harm: the new owner was not told either, so the place becomes nobody's, and R1 holds.
    R6  A static identity is a place in the group. Whoever joins under it takes over target and all, without a new
        generation; the one before is expelled, and stays so if it tries again. One that leaves or dies keeps it until
        its session is over, or leaves for good; nothing waits for it meanwhile, since it holds nothing in fact.
    R7  Without knowing the topics (after a start, until the first `TopicsChanged`) the target stays as it was saved.
    R8  The places of a topic that is gone are nobody's at once, without a `Raise`: they can never be given again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from .assignors import assign, choose_strategy
from .events import (
    Assign,
    Beat,
    Died,
    Done,
    Effect,
    Event,
    Expel,
    Join,
    Leave,
    Place,
    Raise,
    Refuse,
    Tick,
    TopicInfo,
    TopicsChanged,
)
from .members import Member, exists, objection

FORMAT = 1
_REPLACED_KEPT = 16  # how many former holders of a static identity are known as such
_UNTOLD = -1  # revoked in this turn; gets the number of the `Assign` that says so


@dataclass(slots=True)
class _Turn:
    """What one event leads to."""

    now_ms: int
    raised: dict[Place, None] = field(default_factory=dict)  # each once, in order
    said: list[Effect] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    is_new_generation: bool = False
    is_changed: bool = False


class Group:
    """A group.

    Attributes:
        members: By id, in the order in which they came.
        generation: Of the members and their target.
        strategy: The assignor that is used; None without members.
        revision: Rises whenever there is something new to save.
    """

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.generation = 0
        self.strategy: str | None = None
        self.revision = 0
        self._number = 0  # of the last `Assign`
        self._topics: dict[str, TopicInfo] | None = None

    def apply(self, event: Event, now_ms: int) -> list[Effect]:
        """Take in an event and return what follows from it. `now_ms`: of a clock that only ever rises."""
        turn = _Turn(now_ms)
        self._start_clocks(now_ms)
        match event:
            case Join():
                self._join(turn, event)
            case Beat():
                self._beat(turn, event)
            case Done():
                self._release(turn, event)
            case Leave() | Died():
                self._part(turn, event)
            case TopicsChanged():
                self._change_topics(turn, event.topics)
            case Tick():
                self._expire(turn)
        if turn.is_changed:
            self._settle(turn)
        return self._effects(turn)

    # -- what each event does ------------------------------------------------------------------------------------------

    def _join(self, turn: _Turn, event: Join) -> None:
        known = self.members.get(event.member_id)
        if known is None and event.owned is None:
            return  # it was expelled, and will read that
        if known is not None and known.join.instance_id != event.instance_id:
            known = None  # it has another identity now: one leaves, one comes
        rival = self._holder_of(event.instance_id, event.member_id)
        if rival is not None and event.member_id in rival.replaced:
            turn.said.append(Expel(event.member_id, "instance"))
            return
        others = [
            each for each in self.members.values() if each is not rival and each.join.member_id != event.member_id
        ]
        reason = objection(event, others)
        if reason is not None:
            turn.said.append(Refuse(event.member_id, "InconsistentGroupProtocolError", reason))
            return
        if known is not None:
            if event.owned is not None:
                known.let_go(known.owned - set(event.owned))  # R5
            known.gone = False
        else:
            self._remove(turn, event.member_id)
            known = self._come(turn, event, rival)
        known.join = replace(event, owned=None)
        known.seen_ms = turn.now_ms
        turn.told.add(event.member_id)
        turn.is_changed = True

    def _come(self, turn: _Turn, event: Join, rival: Member | None) -> Member:
        """Return a new member, in the place of `rival` if there is one (R6)."""
        member = Member(event)
        if rival is None:
            turn.is_new_generation = True
        else:
            rival_id = rival.join.member_id
            member.target = rival.target
            member.replaced = (*rival.replaced, rival_id)[-_REPLACED_KEPT:]
            self._take_away(turn, rival, rival.owned)
            del self.members[rival_id]
            if not rival.gone:
                turn.said.append(Expel(rival_id, "instance"))
        self.members[event.member_id] = member
        return member

    def _beat(self, turn: _Turn, event: Beat) -> None:
        member = self.members.get(event.member_id)
        if member is None:
            return  # it was expelled, and will read that
        member.seen_ms = turn.now_ms
        if event.poll_age_ms > member.join.max_poll_interval_ms:
            self._expel(turn, member, "poll")

    def _release(self, turn: _Turn, event: Done) -> None:
        member = self.members.get(event.member_id)
        if member is None:
            return
        member.seen_ms = turn.now_ms
        released = [place for place, number in member.revoked.items() if number <= event.number]  # R4
        if released:
            member.let_go(released)
            member.asked_ms = None  # if it owes another answer, that was asked for later
            turn.is_changed = True

    def _part(self, turn: _Turn, event: Leave | Died) -> None:
        member = self.members.get(event.member_id)
        if member is None:
            return
        if member.join.instance_id is None or (isinstance(event, Leave) and event.for_good):
            self._remove(turn, event.member_id)
        else:
            member.gone = turn.is_changed = True

    def _change_topics(self, turn: _Turn, topics: dict[str, TopicInfo]) -> None:
        self._topics = dict(topics)
        for member_id, member in self.members.items():
            vanished = {place for place in member.owned if not exists(place, topics)}
            if vanished & member.held:
                turn.told.add(member_id)
            member.let_go(vanished)  # R8
            turn.is_changed = True

    def _expire(self, turn: _Turn) -> None:
        for member in list(self.members.values()):
            assert member.seen_ms is not None
            if turn.now_ms - member.seen_ms >= member.join.session_timeout_ms:
                self._expel(turn, member, "session")
            elif member.asked_ms is not None and turn.now_ms - member.asked_ms > member.join.max_poll_interval_ms:
                self._expel(turn, member, "poll")

    # -- members come to an end ----------------------------------------------------------------------------------------

    def _expel(self, turn: _Turn, member: Member, reason: str) -> None:
        if not member.gone:
            turn.said.append(Expel(member.join.member_id, reason))
        self._remove(turn, member.join.member_id)

    def _remove(self, turn: _Turn, member_id: str) -> None:
        member = self.members.pop(member_id, None)
        if member is not None:
            self._take_away(turn, member, member.owned)
            turn.is_new_generation = turn.is_changed = True

    def _take_away(self, turn: _Turn, member: Member, places: Iterable[Place]) -> None:
        """Make these nobody's without asking (R2)."""
        taken = sorted(places)
        turn.raised.update(dict.fromkeys(taken))
        member.let_go(taken)

    def _holder_of(self, instance_id: str | None, not_id: str) -> Member | None:
        """The member that has this static identity, if it is another than `not_id`."""
        found = (
            each
            for each in self.members.values()
            if instance_id is not None and each.join.instance_id == instance_id and each.join.member_id != not_id
        )
        return next(found, None)

    # -- towards the target --------------------------------------------------------------------------------------------

    def _settle(self, turn: _Turn) -> None:
        """Find the target, take back what is outside it, and give what is free."""
        self._aim(turn)
        self.generation += turn.is_new_generation
        for member_id, member in self.members.items():
            if self._revoke(turn, member):
                turn.told.add(member_id)
        owned: set[Place] = set().union(*(member.owned for member in self.members.values()))
        for member_id, member in self.members.items():
            given = sorted(member.target - owned)  # R1
            if given:
                turn.raised.update(dict.fromkeys(given))
                member.owned.update(given)
                turn.told.add(member_id)
        self.revision += 1

    def _aim(self, turn: _Turn) -> None:
        if not self.members:
            self.strategy = None
        if not self.members or self._topics is None:
            return  # R7
        last = {place: member_id for member_id, member in self.members.items() for place in member.target}
        self.strategy = choose_strategy([each.join.strategies for each in self.members.values()], self.strategy)
        assert self.strategy is not None  # who has none in common with the others was refused
        subscribers = [member.subscriber(self._topics) for member in self.members.values()]
        target = assign(self.strategy, subscribers, self._topics, last)
        for member_id, member in self.members.items():
            if member.target != target[member_id]:
                member.target = target[member_id]
                turn.is_new_generation = True

    def _revoke(self, turn: _Turn, member: Member) -> bool:
        """Ask for what is outside the target, no more for what is in it (R3). Return whether there is news for it."""
        if member.gone:
            self._take_away(turn, member, member.owned - member.target)  # R6
        back = member.revoked.keys() & member.target
        asked = member.held - member.target
        member.revoked = {place: number for place, number in member.revoked.items() if place not in back}
        member.revoked |= dict.fromkeys(asked, _UNTOLD)
        if not member.revoked:
            member.asked_ms = None
        elif member.asked_ms is None:
            member.asked_ms = turn.now_ms
        return bool(back or asked)

    def _effects(self, turn: _Turn) -> list[Effect]:
        told = [member_id for member_id in self.members if member_id in turn.told and not self.members[member_id].gone]
        self._number += bool(told)
        assigns = []
        for member_id in told:
            member = self.members[member_id]
            for place, number in member.revoked.items():
                if number == _UNTOLD:
                    member.revoked[place] = self._number
            assigns.append(Assign(member_id, self._number, self.generation, tuple(sorted(member.held))))
        return [*map(Raise, turn.raised), *turn.said, *assigns]

    def _start_clocks(self, now_ms: int) -> None:
        """After a restart: nobody is late for what the last coordinator did not see."""
        for member in self.members.values():
            if member.seen_ms is None:
                member.seen_ms = now_ms

    # -- for the coordinator -------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return what the next coordinator must know, as plain values."""
        return {
            "format": FORMAT,
            "generation": self.generation,
            "number": self._number,
            "strategy": self.strategy,
            "members": [member.to_json() for member in self.members.values()],
        }

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> Group:
        """Return the group that was saved.

        Raises:
            ValueError: it has another format, or one place is owned by two members.
            KeyError, TypeError: it is no group.
        """
        if saved["format"] != FORMAT:
            raise ValueError(f"a group of format {saved['format']!r}; this version of shmq knows {FORMAT}")
        group = cls()
        group.generation, group._number = int(saved["generation"]), int(saved["number"])
        group.strategy = saved["strategy"]
        owners: dict[Place, str] = {}
        for each in saved["members"]:
            member = Member.from_json(each)
            member_id = member.join.member_id
            for place in member.owned:
                if owners.setdefault(place, member_id) != member_id:
                    raise ValueError(f"{place} is owned by both {owners[place]!r} and {member_id!r}")
            group.members[member_id] = member
        return group

    @property
    def state(self) -> str:
        """Kafka's word for how the group is: "Empty", "PreparingRebalance" while places move, else "Stable"."""
        if not self.members:
            return "Empty"
        is_moving = any(member.owned != member.target for member in self.members.values())
        return "PreparingRebalance" if is_moving else "Stable"

    def owner(self, place: Place) -> str | None:
        """Return the member that owns a place, None if it is nobody's."""
        return next((member_id for member_id, member in self.members.items() if place in member.owned), None)

    def describe(self) -> dict[str, Any]:
        """Return what people want to know, as plain values."""
        return {
            "state": self.state,
            "generation": self.generation,
            "strategy": self.strategy,
            "members": [member.describe() for member in self.members.values()],
        }
