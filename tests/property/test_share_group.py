"""Share consumers against a list: whatever three of them take, say and commit, in any order, with and without modes.

After every step the group's counts are those of the model, and what went to the dead letters is what the model gave up.
Locks do not expire here, and nobody dies: that is what the storm and the crash tests are for.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from shmq import AcknowledgeType, errors

ACCEPT, RELEASE, REJECT, RENEW = AcknowledgeType
LIMIT = 3
NAMES = {"one": "explicit", "two": "explicit", "three": "implicit"}

names = st.sampled_from(list(NAMES))
kinds = st.sampled_from([ACCEPT, ACCEPT, RELEASE, RELEASE, REJECT, RENEW])


@dataclass
class Taker:
    """A consumer, and what the model says that it has: records by offset, and what it said about them."""

    consumer: Any
    given: dict[int, Any] = field(default_factory=dict)
    said: dict[int, AcknowledgeType] = field(default_factory=dict)
    renewed: dict[int, Any] = field(default_factory=dict)


class ShareMachine(RuleBasedStateMachine):
    """One topic of one partition, and its dead letters."""

    def __init__(self, broker: Any, counter: Any) -> None:
        super().__init__()
        number = next(counter)
        self.broker, self.topic, self.dead, self.group = broker, f"t{number}", f"dead{number}", f"g{number}"
        broker.admin.create_topics({each: {"configs": {"storage": "memory"}} for each in (self.topic, self.dead)})
        self.producer = broker.producer()
        self.states: list[str] = []
        """By offset: "ready", "held", "accepted" or "rejected"."""
        self.deliveries: list[int] = []
        self.letters = 0
        self.takers = {name: Taker(self.open(name)) for name in NAMES}

    def open(self, name: str) -> Any:
        return self.broker.share_consumer(
            self.topic,
            group_id=self.group,
            share_acknowledgement_mode=NAMES[name],
            acquisition_lock_duration_ms=math.inf,
            delivery_count_limit=LIMIT,
            dead_letter_topic=self.dead,
        )

    # -- what the model does ------------------------------------------------------------------------------------------

    def settle(self, taker: Taker) -> None:
        for offset, kind in taker.said.items():
            if kind is ACCEPT:
                self.states[offset] = "accepted"
            elif kind is REJECT or (kind is RELEASE and self.deliveries[offset] >= LIMIT):
                self.give_up(offset)
            elif kind is RELEASE:
                self.states[offset] = "ready"
        renewed = [offset for offset, kind in taker.said.items() if kind is RENEW]
        taker.renewed = {**taker.renewed, **{offset: taker.given[offset] for offset in renewed}}
        taker.given = {offset: record for offset, record in taker.given.items() if offset not in taker.said}
        taker.renewed = {
            offset: record for offset, record in taker.renewed.items() if taker.said.get(offset, RENEW) is RENEW
        }
        taker.said = {}

    def give_up(self, offset: int) -> None:
        self.states[offset] = "rejected"
        self.letters += 1

    def expected(self, most: int) -> list[int]:
        """What the next poll returns: the first record that comes again, alone; else fresh ones."""
        while again := [each for each, state in enumerate(self.states) if state == "ready" and self.deliveries[each]]:
            self.deliveries[again[0]] += 1
            if self.deliveries[again[0]] <= LIMIT:
                self.states[again[0]] = "held"
                return again[:1]
            self.give_up(again[0])  # released by a close, when it had been delivered as often as it may be
        fresh = [each for each, state in enumerate(self.states) if state == "ready"][:most]
        for offset in fresh:
            self.states[offset], self.deliveries[offset] = "held", 1
        return fresh

    # -- steps --------------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def send(self, count: int) -> None:
        for _ in range(count):
            self.producer.send(self.topic, b"%d" % len(self.states))
            self.states.append("ready")
            self.deliveries.append(0)

    @rule(name=names, most=st.integers(1, 6))
    def poll(self, name: str, most: int) -> None:
        taker = self.takers[name]
        if NAMES[name] == "implicit":
            taker.said = dict.fromkeys(taker.given, ACCEPT)
        elif taker.given.keys() - taker.said.keys():
            with pytest.raises(errors.IllegalStateError, match="not acknowledged"):
                taker.consumer.poll(max_records=most)
            return
        self.settle(taker)
        expected = self.expected(most)

        records = [record for batch in taker.consumer.poll(max_records=most).values() for record in batch]

        assert [record.offset for record in records] == expected
        assert [int(record.value) for record in records] == expected
        assert [record.delivery_count for record in records] == [self.deliveries[each] for each in expected]
        taker.given |= {record.offset: record for record in records}

    @precondition(lambda self: any(each.given or each.renewed for each in self.takers.values()))
    @rule(data=st.data(), by=names, kind=kinds)
    def acknowledge(self, data: st.DataObject, by: str, kind: AcknowledgeType) -> None:
        """By its taker, or by another."""
        owners = [(name, each) for name, taker in self.takers.items() for each in {**taker.given, **taker.renewed}]
        owner, offset = data.draw(st.sampled_from(owners))
        taker = self.takers[owner]
        record = (taker.given | taker.renewed)[offset]
        may = by == owner and NAMES[by] == "explicit" and taker.said.get(offset, RENEW) is RENEW
        if may:
            self.takers[by].consumer.acknowledge(record, kind)
            taker.said[offset] = kind
        else:
            with pytest.raises(errors.IllegalStateError):
                self.takers[by].consumer.acknowledge(record, kind)

    @rule(name=names)
    def commit(self, name: str) -> None:
        taker = self.takers[name]
        if NAMES[name] == "implicit":
            taker.said = dict.fromkeys(taker.given, ACCEPT)
        had = bool(taker.said)
        self.settle(taker)

        assert [*taker.consumer.commit_sync().values()] == [None] * had

    @rule(name=names)
    def close_and_open_again(self, name: str) -> None:
        taker = self.takers[name]
        taker.consumer.close()
        self.settle(taker)
        for offset in [*taker.given, *taker.renewed]:
            self.states[offset] = "ready"
        self.takers[name] = Taker(self.open(name))

    # -- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def counts_are_exact(self) -> None:
        [found] = self.broker.admin.list_share_group_offsets(self.group)[self.group].values()
        wanted = Counter(self.states)
        names_here = {"ready": "ready", "in_flight": "held", "accepted": "accepted", "rejected": "rejected"}
        assert {each: found[each] for each in names_here} == {each: wanted[name] for each, name in names_here.items()}
        assert found["lag"] == wanted["ready"] + wanted["held"]
        undone = [offset for offset, state in enumerate(self.states) if state in ("ready", "held")]
        assert found["start_offset"] == min(undone, default=len(self.states))
        assert (found["delayed"], found["skipped"], found["end_offset"]) == (0, 0, len(self.states))

    @invariant()
    def every_dead_letter_is_there(self) -> None:
        assert sum(each["end_offset"] for each in self.broker.admin.describe_topics([self.dead])[0]["partitions"]) == (
            self.letters
        )

    def teardown(self) -> None:
        for taker in self.takers.values():
            taker.consumer.close()
        self.producer.close()
        self.broker.admin.delete_topics([self.topic, self.dead])
        self.broker.admin.delete_share_groups([self.group])


def test_a_share_group_does_what_the_model_does(broker, caplog):
    caplog.set_level(logging.CRITICAL, "shmq")  # what it says of each record that is given up
    counter = itertools.count()

    run_state_machine_as_test(lambda: ShareMachine(broker, counter), settings=settings())
