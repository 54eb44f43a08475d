"""Groups in a broker's directory: any name, a number each, whole or not there."""

from __future__ import annotations

import os
import threading

import pytest

from shmq import errors
from shmq.store import CONSUMER, SHARE, Groups, collect, open_broker

ODD_NAMES = ["g", ".", "..", "a/b", "../../etc", "ünïcode ☃", "x" * 1024, "☃" * 300, "\n\t", "%2E", "nul\0byte"]


@pytest.fixture
def groups(tmp_path):
    broker = open_broker(str(tmp_path / "broker"))
    yield Groups(broker)
    broker.close()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_group_can_have_any_name_and_stays_in_its_place(groups, tmp_path, name):
    made = groups.make(name)

    assert groups.load(name) == made == groups.make(name)
    assert made.name == name
    assert os.path.dirname(os.path.realpath(made.directory)) == str(tmp_path / "broker" / "groups")


def test_groups_have_numbers_of_their_own(groups):
    made = [groups.make(name) for name in ODD_NAMES]

    assert len({group.number for group in made}) == len(made)
    assert sorted(group.name for group in groups.all()) == sorted(ODD_NAMES)


def test_threads_that_make_the_same_groups_agree(groups):
    made = []
    threads = [threading.Thread(target=lambda: made.append([groups.make(f"g{n}") for n in range(9)])) for _ in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 4
    assert all(each == made[0] for each in made)


def test_a_deleted_group_is_gone_and_can_be_made_anew(groups):
    group = groups.make("g")

    groups.delete(group)

    assert groups.find("g") is None
    assert list(groups.all()) == []
    with pytest.raises(errors.GroupIdNotFoundError, match="'g'"):
        groups.load("g")
    assert groups.make("g").name == "g"


def test_a_name_is_of_one_kind_until_its_group_is_deleted(groups):
    consumer, share = groups.make("c"), groups.make("s", SHARE)

    assert (consumer.kind, share.kind) == (CONSUMER, SHARE)
    assert (groups.load("c", CONSUMER), groups.make("s", SHARE), groups.find("s")) == (consumer, share, share)
    with pytest.raises(errors.InconsistentGroupProtocolError, match="'c': it is a consumer group, not a share group"):
        groups.make("c", SHARE)
    with pytest.raises(errors.InconsistentGroupProtocolError, match="'s': it is a share group, not a consumer group"):
        groups.load("s", CONSUMER)
    assert [[group.name for group in groups.all(kind)] for kind in (None, CONSUMER, SHARE)] == [
        ["c", "s"],
        ["c"],
        ["s"],
    ]
    groups.delete(consumer)
    assert groups.make("c", SHARE).kind == SHARE


def test_a_group_whose_file_says_no_kind_is_a_consumer_group(groups):
    group = groups.make("g", SHARE)
    with open(os.path.join(group.directory, "group.json"), "w") as file:
        file.write('{"name": "g", "number": 7}')

    assert groups.load("g", CONSUMER).number == 7


@pytest.mark.parametrize(("name", "rule"), [("", "empty"), ("x" * 1025, "1025"), ("\ud800", "no text")])
def test_a_name_that_cannot_be_is_refused(groups, name, rule):
    with pytest.raises(errors.InvalidGroupIdError, match=rule):
        groups.make(name)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"name": "g", "number": 0}', b'{"name": "g", "number": "x"}'])
def test_a_damaged_group_file_is_reported(groups, text):
    group = groups.make("g")
    with open(os.path.join(group.directory, "group.json"), "wb") as file:
        file.write(text)

    with pytest.raises(errors.CorruptRecordError, match=r"group\.json"):
        groups.load("g")


def test_what_a_death_left_in_a_group_is_collected(groups, tmp_path):
    group = groups.make("g")
    left = os.path.join(group.directory, "t-0000000000000007.offsets.new-0123456789abcdef")
    open(left, "wb").close()
    broker = open_broker(str(tmp_path / "broker"))

    report = collect(broker)
    broker.close()

    assert left in report.removed
    assert sorted(os.listdir(group.directory)) == ["group.json"]


def test_one_damaged_group_keeps_nobody_from_the_others(groups, caplog):
    damaged, sound = groups.make("damaged"), groups.make("sound")
    with open(os.path.join(damaged.directory, "group.json"), "wb") as file:
        file.write(b"{")

    assert [group.name for group in groups.all()] == ["sound"]
    assert groups.make("new").number not in (damaged.number, sound.number)
    assert "group.json" in caplog.text
