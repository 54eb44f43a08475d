"""Processes are killed, stopped and replaced at random while others go on; every record is accounted for.

The quick storms end once enough producers have died in the middle of an append. Long ones, and other ones:
`pytest -m long tests/stress --seconds 600 --seed 7`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time

import pytest
from account import Account
from players import MOST_IN_APPEND
from storm import Storm

from shmq import TopicPartition, _native
from shmq.store import Topics, collect

SEGMENT_BYTES = 65536
SMALL = {"segment_bytes": SEGMENT_BYTES}
QUEUE = SMALL | {"retention": "consumed", "retention_bytes": 6 * SEGMENT_BYTES}
KEPT = SMALL | {"retention": "delete", "retention_bytes": 24 * SEGMENT_BYTES}
TOPICS = {
    "queue-in-memory": QUEUE | {"storage": "memory"},
    "queue-on-disk": QUEUE | {"storage": "disk"},
    "kept-in-memory": KEPT | {"storage": "memory", "crc": True},
    "kept-on-disk": KEPT | {"storage": "disk"},
}
PLACES = [TopicPartition(name, 0) for name in TOPICS]
SLOTS = 20  # of processes: they change hands all the time

NEVER_MS, SOON_MS = 600_000, 20
"""Claim timeouts: only the dead lose their claims, or those who were stopped too."""

DEATHS, STOPS = 130, 30  # in the middle of an append, in each storm that looks for them
HEALED, RETRIED = 100, 5  # some readers die before they can say that they gave up a claim, and so do some who retry
QUICK_S, LONG_S, LONGEST_S = 10.0, 20.0, 180.0


class Round:
    """One storm over fresh topics, and the judgement over it."""

    def __init__(self, broker, directory, seed: int, claim_timeout_ms: int) -> None:
        self.broker, self.seed = broker, seed
        self.topics = Topics(broker.admin.broker)
        broker.admin.create_topics(
            {name: {"configs": configs | {"claim_timeout_ms": claim_timeout_ms}} for name, configs in TOPICS.items()}
        )
        self.storm = Storm(broker.address, PLACES, directory, seed)

    def play(self, hit: str, times: int, least_s: float) -> dict[str, int]:
        """Blow until so many producers were hit so in the middle of an append, and check everything; what was counted."""
        least, latest = time.monotonic() + least_s, time.monotonic() + least_s + LONGEST_S

        def is_enough() -> bool:
            now = time.monotonic()
            return (self.storm.hits_in_appends(hit) >= times and now >= least) or now > latest

        try:
            with self.storm.gathered():
                self.storm.blow(is_enough)
                self.storm.calm()
                firsts, seconds = self.storm.passes("finish"), self.storm.passes("read_again")
            account = Account(self.storm.scene.told)
            self.check_records(account, firsts, seconds)
            self.check_files()
            found = self.storm.hits_in_appends(hit)
            assert found >= times, f"{found} hits in an append within {least_s + LONGEST_S} s; {times} wanted"
        except BaseException as error:
            error.add_note(f"in a storm of --seed {self.seed}, after {dict(self.storm.hits)}")
            raise
        sent = sum(len(offsets) for senders in account.offsets.values() for offsets in senders.values())
        print(f"seed {self.seed}: {sent} records, {account.counts}, {dict(self.storm.hits)}")
        return account.counts

    def check_records(self, account, firsts, seconds) -> None:
        for place in PLACES:
            account.check(place, [each[place] for each in [*firsts, *seconds]], MOST_IN_APPEND)
            sent = sum(map(len, account.offsets[place].values()))
            for first, second in zip((each[place] for each in firsts), (each[place] for each in seconds), strict=True):
                assert first.begin == 0
                assert len(first.seen) > sent / 2, f"{place}: only {len(first.seen)} of {sent} were read"
                assert first.gaps == [] or place.topic.startswith("kept"), f"{place}: {first.gaps} were not waited for"
                still_there = {seen for seen in first.seen if seen.offset >= second.begin}
                assert still_there <= set(second.seen), f"{place}: {still_there - set(second.seen)} were read only once"

    def check_files(self) -> None:
        assert collect(self.broker.admin.broker).problems == []
        for name, configs in TOPICS.items():
            meta = self.topics.find(name)
            with self.topics.opened(meta) as [partition]:
                assert partition.verify() is None
                census = partition.census()
            assert census["claimed"] == 0, f"{name}: a claim is open although readers have passed it"
            assert census["bytes"] <= configs["retention_bytes"]
            files = set(os.listdir(meta.partition_directory(0))) - {"control"}
            assert len(files) == census["segments"], f"{name}: orphans among {files}"
        assert self.broker.doorbells() == []

    def clear(self) -> None:
        self.broker.admin.delete_topics(list(TOPICS))
        shutil.rmtree(self.storm.scene.told.parent)


def make_few_slots(broker) -> None:
    """Before the first process registers."""
    broker.has_deaths = True
    procs = broker.directory / "procs"
    procs.unlink()
    _native.create_procs(str(procs), int(broker.instance, 16), SLOTS)


def test_a_hundred_claims_of_the_dead_are_given_up_and_nothing_is_lost_doubled_or_torn(broker, tmp_path, request):
    make_few_slots(broker)
    storm = Round(broker, tmp_path / "storm", request.config.getoption("--seed"), NEVER_MS)

    counts = storm.play("kill", DEATHS, QUICK_S)

    assert counts["healed"] >= HEALED
    assert "retried" not in counts, "a living producer was taken for dead"


def test_who_was_stopped_in_an_append_appends_again_and_nothing_is_lost_doubled_or_torn(broker, tmp_path, request):
    make_few_slots(broker)
    storm = Round(broker, tmp_path / "storm", request.config.getoption("--seed"), SOON_MS)

    counts = storm.play("stop", STOPS, QUICK_S)

    assert counts["retried"] >= RETRIED


@pytest.mark.long
def test_a_long_storm_loses_doubles_and_tears_nothing(broker, tmp_path, request):
    make_few_slots(broker)
    deadline = time.monotonic() + request.config.getoption("--seconds")

    for seed in itertools.count(request.config.getoption("--seed")):
        storm = Round(broker, tmp_path / "storm", seed, (NEVER_MS, SOON_MS)[seed % 2])
        counts = storm.play("kill", DEATHS, LONG_S)
        assert counts["healed"] >= HEALED
        storm.clear()
        if time.monotonic() > deadline:
            break
