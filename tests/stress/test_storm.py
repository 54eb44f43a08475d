"""Processes are killed, stopped and replaced at random while others go on; every record is accounted for.

The quick storm ends once a hundred deaths have left a claim behind. `pytest -m long tests/stress --storm-seconds 600
--storm-seed 7` blows longer, and differently.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from storm import MOST_UNACKNOWLEDGED, UNBOUNDED, Storm, drain

from shmq import TopicPartition
from shmq.store import Topics

ENOUGH_CLAIMS, MOST_S = 100, 120.0
SMALL = {"segment_bytes": 65536, "claim_timeout_ms": 20}
QUEUE = SMALL | {"retention": "consumed", "retention_bytes": 6 * 65536}
TOPICS = {
    "memory": QUEUE | {"storage": "memory"},
    "disk": QUEUE | {"storage": "disk"},
    UNBOUNDED: SMALL | {"storage": "memory", "crc": True, "retention_bytes": 64 << 20},
}


def blow(broker, told: Path, seed: int, least_s: float) -> None:
    broker.has_deaths = True
    broker.admin.create_topics({name: {"num_partitions": 2, "configs": configs} for name, configs in TOPICS.items()})
    places = [TopicPartition(name, number) for name in TOPICS for number in range(2)]
    told.mkdir()
    storm = Storm(broker.address, places, told, seed)
    began = time.monotonic()

    with storm.blowing() as consumer:
        while (healed := claims_healed(consumer)) < ENOUGH_CLAIMS or time.monotonic() < began + least_s:
            assert time.monotonic() < began + max(MOST_S, 2 * least_s), (
                f"only {healed} claims were left behind: {storm.hits}"
            )
            storm.step(consumer)
        storm.calm()
        drain(storm, consumer)
    storm.acknowledged()

    print(f"seed {seed}: {dict(storm.hits)}, {healed} claims given up by one reader")
    for place, ledger in storm.ledgers.items():
        assert ledger.seen, f"nothing was read from {place}"
        ledger.check(MOST_UNACKNOWLEDGED)
    topics = Topics(broker.admin.broker)
    for name in TOPICS:
        with topics.opened(topics.find(name)) as partitions:
            for partition in partitions:
                assert partition.verify() is None
                partition.clean()
                assert partition.census()["claimed"] == 0


def claims_healed(consumer) -> int:
    return int(consumer.metrics()["consumer-metrics"]["claims-healed-total"])


def test_a_storm_of_deaths_and_stops_loses_doubles_and_tears_nothing(broker, tmp_path, request):
    blow(broker, tmp_path / "told", request.config.getoption("--storm-seed"), 0.0)


@pytest.mark.long
def test_a_long_storm(broker, tmp_path, request):
    blow(
        broker,
        tmp_path / "told",
        request.config.getoption("--storm-seed"),
        request.config.getoption("--storm-seconds") or 300.0,
    )
