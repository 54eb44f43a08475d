"""Consumers of the fixture `places`, and what they read there."""

from __future__ import annotations

from shmq import Consumer


def numbers(batches) -> dict[int, list[int]]:
    return {place.partition: [int(record.value) for record in records] for place, records in batches.items()}


def assigned(broker, places, **configs) -> Consumer:
    consumer = broker.consumer(**configs)
    consumer.assign(places)
    return consumer
