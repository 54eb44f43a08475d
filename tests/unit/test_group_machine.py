"""The rules of the group logic, one by one, as its docstring names them; `tests/property` has them in any order."""

from __future__ import annotations

import json
import time

import pytest

from shmq.groups.events import (
    Assign,
    Beat,
    Died,
    Done,
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
from shmq.groups.machine import Group

SESSION_MS, POLL_MS = 10_000, 60_000


def place(partition, topic="t", topic_id=7):
    return Place(topic, topic_id, partition)


def places(*partitions):
    return tuple(place(each) for each in partitions)


def join(member_id, *, instance=None, topics=("t",), pattern=None, strategies=("sticky",), owned=()):
    who = ("client", 42, "python")
    return Join(member_id, instance, topics, pattern, strategies, owned, SESSION_MS, POLL_MS, *who)


class Driver:
    """A group, a clock, and what each member was told last."""

    def __init__(self, **partitions):
        self.group = Group()
        self.now_ms = 1_000_000
        self.told = {}
        self.topics(**(partitions or {"t": 4}))

    def __call__(self, event, after_ms=0):
        self.now_ms += after_ms
        effects = self.group.apply(event, self.now_ms)
        self.told |= {each.member_id: each for each in effects if isinstance(each, Assign)}
        return effects

    def topics(self, **partitions):
        infos = {name: TopicInfo(7 + number, count) for number, (name, count) in enumerate(partitions.items())}
        return self(TopicsChanged(infos))

    def obey(self, member_id):
        """Answer what the member was told last."""
        return self(Done(member_id, self.told[member_id].number))

    def restart(self):
        self.group = Group.from_json(json.loads(json.dumps(self.group.to_json())))

    def may_hold(self, member_id):
        return [each.partition for each in self.told[member_id].places]


@pytest.fixture
def drive():
    return Driver()


@pytest.fixture
def two(drive):
    """Members a and b at rest; a has 0 and 1, b has 2 and 3."""
    drive(join("a"))
    drive(join("b"))
    drive.obey("a")
    assert (drive.may_hold("a"), drive.may_hold("b")) == ([0, 1], [2, 3])
    return drive


def kind_of(event):
    return type(event).__name__


def kinds(effects):
    return [kind_of(each) for each in effects]


# -- places change hands -----------------------------------------------------------------------------------------------


def test_the_first_member_gets_everything_each_with_a_new_epoch(drive):
    effects = drive(join("a"))

    assert effects == [*map(Raise, places(0, 1, 2, 3)), Assign("a", 1, 1, places(0, 1, 2, 3))]


def test_a_place_goes_to_its_new_owner_only_when_the_old_one_has_let_go(drive):
    drive(join("a"))

    effects = drive(join("b"))

    assert effects == [Assign("a", 2, 2, places(0, 1)), Assign("b", 2, 2, ())]
    assert drive.group.state == "PreparingRebalance"
    assert drive(Done("a", 2)) == [
        Raise(place(2)),
        Raise(place(3)),
        Assign("b", 3, 2, places(2, 3)),
    ]
    assert drive.group.state == "Stable"


def test_a_member_that_keeps_what_it_has_is_not_told_anything(two):
    two(join("c"))
    told = {"a": two.told["a"], "b": two.told["b"]}

    moved_from = "a" if two.group.members["a"].revoked else "b"
    two.obey(moved_from)

    stays = "b" if moved_from == "a" else "a"
    assert two.told[stays] == told[stays]
    assert len(two.may_hold(stays)) == 2


def test_a_dead_member_is_fenced_and_its_places_are_given_in_one_step(two):
    effects = two(Died("a"))

    assert effects == [Raise(place(0)), Raise(place(1)), Assign("b", 4, 3, places(0, 1, 2, 3))]


def test_a_member_that_leaves_frees_its_places_at_once(two):
    assert two(Leave("b"))[-1] == Assign("a", 4, 3, places(0, 1, 2, 3))


def test_members_beyond_the_partitions_are_told_that_they_have_none():
    drive = Driver(t=1)
    drive(join("a"))

    assert drive(join("b")) == [Assign("b", 2, 2, ())]
    assert drive.group.state == "Stable"


def test_a_member_that_comes_or_goes_makes_a_new_generation_and_nothing_else_does(drive):
    seen = [drive.group.generation]
    for event in [join("a"), join("b"), Beat("a", 0), Tick(), Done("a", 2), join("b"), Leave("b")]:
        if isinstance(event, Join) and event.member_id in drive.group.members:
            event = join(event.member_id, owned=places(2, 3))
        drive(event)
        seen.append(drive.group.generation)

    assert seen == [0, 1, 2, 2, 2, 2, 2, 3]


def test_a_place_that_a_later_target_gives_back_stays_if_it_was_not_let_go_of(drive):
    drive(join("a"))
    drive(join("b"))

    effects = drive(Leave("b"))

    assert effects == [Assign("a", 3, 3, places(0, 1, 2, 3))]  # no Raise: it can commit all the time


def test_an_answer_to_an_earlier_assignment_does_not_free_what_a_later_one_gave_back(drive):
    drive(join("a"))
    drive(join("b"))
    drive(Leave("b"))

    assert drive(Done("a", 2)) == []
    assert len(drive.group.members["a"].owned) == 4


def test_an_answer_to_an_earlier_assignment_does_not_free_what_was_given_and_revoked_since(two):
    two(Leave("b"))
    two(join("c"))
    number = two.told["a"].number

    assert two(Done("a", number - 1)) == []
    two(Done("a", number))

    assert sorted(two.may_hold("a") + two.may_hold("c")) == [0, 1, 2, 3]
    assert two.group.state == "Stable"


def test_an_answer_to_a_later_assignment_answers_the_earlier_ones_too(drive):
    drive(join("a"))
    drive(join("b"))
    drive.topics(t=4, other=1)
    drive(join("a", topics=("t", "other"), owned=None))  # told once more, while 2 and 3 are still revoked

    drive.obey("a")

    assert drive.group.state == "Stable"


# -- members that are not heard of -------------------------------------------------------------------------------------


def test_a_member_that_is_silent_for_a_session_is_expelled(two):
    assert two(Beat("b", 0), after_ms=SESSION_MS - 1) == []
    assert two(Tick()) == []

    effects = two(Tick(), after_ms=1)

    assert effects[:3] == [Raise(place(0)), Raise(place(1)), Expel("a", "session")]
    assert two.may_hold("b") == [0, 1, 2, 3]


@pytest.mark.parametrize("sign", [Beat("a", 0), Done("a", 0), join("a", owned=places(0, 1))], ids=kind_of)
def test_any_sign_of_life_prolongs_a_session(two, sign):
    two(Beat("b", 0), after_ms=SESSION_MS - 1)
    two(sign)

    two(Tick(), after_ms=1)

    assert "a" in two.group.members


def test_a_member_that_does_not_poll_is_expelled(two):
    assert two(Beat("a", POLL_MS)) == []

    effects = two(Beat("a", POLL_MS + 1))

    assert Expel("a", "poll") in effects
    assert two.may_hold("b") == [0, 1, 2, 3]


def test_a_member_is_fenced_when_it_is_expelled_even_if_nobody_gets_its_places(drive):
    drive(join("a"))

    effects = drive(Beat("a", POLL_MS + 1))

    assert effects == [*map(Raise, places(0, 1, 2, 3)), Expel("a", "poll")]


def test_a_member_that_does_not_answer_a_revocation_is_expelled(drive):
    drive(join("a"))
    drive(join("b"))

    while drive.now_ms < 1_000_000 + POLL_MS:
        assert drive(Beat("a", 0), after_ms=1000) == drive(Beat("b", 0)) == drive(Tick()) == []
    effects = drive(Tick(), after_ms=1)

    assert Expel("a", "poll") in effects
    assert drive.may_hold("b") == [0, 1, 2, 3]


def test_a_member_that_was_expelled_comes_back_with_nothing_of_what_it_claims(two):
    two(Beat("a", POLL_MS + 1))

    effects = two(join("a", owned=places(0, 1)))

    assert effects == [Assign("b", 5, 4, places(0, 1)), Assign("a", 5, 4, ())]


@pytest.mark.parametrize(
    "late",
    [Beat("x", 0), Beat("x", POLL_MS + 1), Done("x", 9), Leave("x"), Died("x"), join("x", owned=None)],
)
def test_what_comes_late_from_somebody_who_is_no_member_changes_nothing(two, late):
    before, revision = two.group.to_json(), two.group.revision

    assert two(late) == []
    assert (two.group.to_json(), two.group.revision) == (before, revision)


# -- coming back, and other subscriptions ------------------------------------------------------------------------------


def test_after_a_restart_everybody_keeps_what_both_he_and_the_state_say(two):
    two.restart()
    two.topics(t=4)

    assert two(join("a", owned=places(0, 1))) == [Assign("a", 4, 2, places(0, 1))]
    assert two(join("b", owned=places(2, 3))) == [Assign("b", 5, 2, places(2, 3))]


def test_after_a_restart_nobody_keeps_what_only_he_says(two):
    two.restart()
    two.topics(t=4)

    assert two(join("a", owned=places(0, 1, 2))) == [Assign("a", 4, 2, places(0, 1))]
    assert [two.group.owner(each) for each in places(0, 1, 2, 3)] == ["a", "a", "b", "b"]
    assert two(join("new", owned=places(3)))[-1].places == ()


def test_after_a_restart_what_only_the_state_says_is_given_anew(two):
    two.restart()
    two.topics(t=4)

    assert two(join("b", owned=places(2))) == [Raise(place(3)), Assign("b", 4, 2, places(2, 3))]


def test_before_the_topics_are_known_the_target_stays_as_it_was_saved(two):
    two.restart()

    assert two(join("a", owned=places(0, 1))) == [Assign("a", 4, 2, places(0, 1))]
    assert two(join("c")) == [Assign("c", 5, 3, ())]
    assert two.topics(t=4) != []
    assert sum(map(len, (each.target for each in two.group.members.values()))) == 4


def test_after_a_restart_sessions_and_answers_owed_begin_anew(drive):
    drive(join("a"))
    drive(join("b"))
    drive.restart()
    drive.now_ms = 50  # the clock of another boot

    assert drive(Tick()) == []
    assert drive(Tick(), after_ms=SESSION_MS - 1) == []
    assert [each for each in drive(Tick(), after_ms=1) if isinstance(each, Expel)] == [
        Expel("a", "session"),
        Expel("b", "session"),
    ]


def test_an_answer_that_was_owed_is_owed_to_the_next_coordinator_too(drive):
    drive(join("a"))
    drive(join("b"))
    drive.restart()
    drive.topics(t=4)

    assert drive(join("a", owned=places(0, 1, 2, 3)))[-1] == Assign("a", drive.told["a"].number, 2, places(0, 1))
    expelled = []
    for _ in range(POLL_MS // 1000 + 1):
        assert not expelled
        drive(Beat("a", 0), after_ms=1000)
        drive(Beat("b", 0))
        expelled = [each for each in drive(Tick()) if isinstance(each, Expel)]

    assert expelled == [Expel("a", "poll")]


def test_a_state_that_was_saved_and_read_is_the_same(two):
    two(join("c", instance="i", topics=(), pattern="t.*"))
    two(Died("c"))
    saved = json.loads(json.dumps(two.group.to_json()))

    assert Group.from_json(saved).to_json() == saved == two.group.to_json()


def test_a_state_of_another_format_is_refused():
    with pytest.raises(ValueError, match="format 2; this version of shmq knows 1"):
        Group.from_json({**Group().to_json(), "format": 2})


def test_a_state_with_two_owners_of_a_place_is_refused(two):
    saved = two.group.to_json()
    saved["members"][1]["owned"] = saved["members"][0]["owned"]

    with pytest.raises(ValueError, match="is owned by both 'a' and 'b'"):
        Group.from_json(saved)


def test_a_member_may_subscribe_to_other_topics():
    drive = Driver(t=2, u=2)
    drive(join("a"))

    effects = drive(join("a", topics=("u",), owned=None))

    assert effects[-1] == Assign("a", 2, 2, (Place("u", 8, 0), Place("u", 8, 1)))
    assert drive.obey("a") == []
    assert drive.group.state == "Stable"


def test_a_place_that_crosses_with_a_subscription_is_not_taken_back(two):
    two(Leave("b"))  # a is given 2 and 3, and subscribes before it has read that

    effects = two(join("a", owned=None))

    assert effects == [Assign("a", 5, 3, places(0, 1, 2, 3))]


# -- topics ------------------------------------------------------------------------------------------------------------


def test_new_partitions_and_new_topics_of_a_pattern_are_given(drive):
    drive(join("a", topics=(), pattern="t|n.w"))
    assert drive.may_hold("a") == [0, 1, 2, 3]

    drive.topics(t=5, new=1, anew=1)

    assert drive.told["a"].places == (Place("new", 8, 0), *places(0, 1, 2, 3, 4))


def test_the_places_of_a_topic_that_is_gone_are_taken_without_waiting_or_raising(two):
    assert two(TopicsChanged({})) == [Assign("a", 4, 3, ()), Assign("b", 4, 3, ())]
    assert two.group.state == "Stable"


def test_a_topic_that_was_made_anew_has_other_places(two):
    effects = two(TopicsChanged({"t": TopicInfo(99, 2)}))

    assert effects[:2] == [Raise(place(0, topic_id=99)), Raise(place(1, topic_id=99))]
    assert {each.topic_id for told in two.told.values() for each in told.places} == {99}


# -- static members ----------------------------------------------------------------------------------------------------


@pytest.fixture
def static(drive):
    """Static member a of identity i has 0 and 1, dynamic member b has 2 and 3."""
    drive(join("a", instance="i"))
    drive(join("b"))
    drive.obey("a")
    return drive


def test_a_second_consumer_of_an_identity_takes_over_without_a_rebalance(static):
    effects = static(join("a2", instance="i"))

    assert effects == [Raise(place(0)), Raise(place(1)), Expel("a", "instance"), Assign("a2", 4, 2, places(0, 1))]


def test_one_that_lost_its_identity_stays_out_also_after_a_restart(static):
    static(join("a2", instance="i"))
    static.restart()

    assert static(join("a", instance="i", owned=places(0, 1))) == [Expel("a", "instance")]
    assert "a2" in static.group.members


@pytest.mark.parametrize("end", [Died("a"), Leave("a")], ids=["dies", "leaves"])
def test_a_static_member_keeps_its_place_when_it(static, end):
    assert static(end) == []
    assert static.group.describe()["members"][0]["gone"]

    assert static(join("a2", instance="i")) == [Raise(place(0)), Raise(place(1)), Assign("a2", 4, 2, places(0, 1))]


def test_the_place_of_a_static_member_is_free_when_its_session_is_over(static):
    static(Died("a"))
    static(Beat("b", 0), after_ms=SESSION_MS - 1)

    effects = static(Tick(), after_ms=1)

    assert kinds(effects) == ["Raise", "Raise", "Assign"]
    assert static.may_hold("b") == [0, 1, 2, 3]


def test_a_static_member_that_leaves_for_good_frees_its_place(static):
    static(Leave("a", for_good=True))

    assert static.may_hold("b") == [0, 1, 2, 3]


def test_a_static_member_that_was_only_away_is_told_what_it_may_hold(static):
    static(Leave("a"))

    assert static(join("a", instance="i", owned=())) == [
        Raise(place(0)),
        Raise(place(1)),
        Assign("a", 4, 2, places(0, 1)),
    ]


@pytest.mark.parametrize("restarts", [False, True])
def test_nothing_waits_for_a_static_member_that_is_away(restarts):
    drive = Driver(t=4)
    drive(join("a", instance="i"))
    drive(Died("a"))
    if restarts:
        drive.restart()
        drive.topics(t=4)

    drive(join("b"))

    assert drive.may_hold("b") == [2, 3]


# -- assignors ---------------------------------------------------------------------------------------------------------


def test_a_consumer_without_an_assignor_in_common_is_refused_and_changes_nothing(two):
    before = two.group.to_json()

    effects = two(join("c", strategies=("range", "roundrobin")))

    assert kinds(effects) == ["Refuse"]
    assert effects[0].error == "InconsistentGroupProtocolError"
    assert effects[0].detail == (
        "its members use one of sticky, and this one knows range, roundrobin; "
        "name one of theirs in partition_assignment_strategy"
    )
    assert two.group.to_json() == before


def test_a_consumer_with_a_pattern_that_is_none_is_refused(drive):
    effects = drive(join("a", topics=(), pattern="("))

    assert effects == [
        Refuse("a", "InconsistentGroupProtocolError", effects[0].detail),
    ]
    assert "'(' is no regular expression: missing )" in effects[0].detail


def test_the_assignor_is_the_one_that_most_members_prefer(drive):
    drive(join("a", strategies=("range", "sticky")))
    assert drive.group.strategy == "range"

    drive(join("b", strategies=("sticky", "range")))
    assert drive.group.strategy == "range"

    drive(join("c", strategies=("sticky", "range")))
    assert drive.group.strategy == "sticky"


# -- what people see, and how long it takes ----------------------------------------------------------------------------


def test_a_group_is_described_in_kafkas_words(drive):
    assert drive.group.describe() == {"state": "Empty", "generation": 0, "strategy": None, "members": []}
    drive(join("a", instance="i"))
    drive(join("b"))

    described = drive.group.describe()

    assert (described["state"], described["generation"], described["strategy"]) == ("PreparingRebalance", 2, "sticky")
    assert described["members"][0] == {
        "member_id": "a",
        "group_instance_id": "i",
        "client_id": "client",
        "pid": 42,
        "process": "python",
        "topics": ["t"],
        "pattern": None,
        "assignment": [["t", 7, 0], ["t", 7, 1]],
        "revoked": [["t", 7, 2], ["t", 7, 3]],
        "gone": False,
    }


def test_an_empty_group_knows_no_strategy_and_no_places(two):
    two(Leave("a"))
    two(Leave("b"))

    assert two.group.describe() == {"state": "Empty", "generation": 4, "strategy": None, "members": []}


def test_the_revision_tells_what_must_be_saved(two):
    revision = two.group.revision
    two(Beat("a", 0))
    two(Tick())
    assert two.group.revision == revision

    two(Leave("a"))
    assert two.group.revision > revision


def test_64_members_on_256_partitions_are_rebalanced_in_a_few_milliseconds():
    drive = Driver(t=256)
    for number in range(64):
        drive(join(f"m{number:02}"))
        for member_id in list(drive.group.members):
            drive.obey(member_id)
    times = []

    for number in range(5):
        begun = time.process_time()
        drive(Died(f"m{number:02}"))
        times.append(time.process_time() - begun)
        drive(join(f"m{number:02}"))
        for member_id in list(drive.group.members):
            drive.obey(member_id)

    assert drive.group.state == "Stable"
    assert {len(member.owned) for member in drive.group.members.values()} == {4}
    assert min(times) < 0.02
