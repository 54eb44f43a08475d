"""Offsets, timestamps and replay: a log is not used up by reading it. Run it: python examples/replay.py"""

from __future__ import annotations

import json

from shmq import Consumer, Producer, TopicPartition, temporary_broker

PRICES = TopicPartition("prices", 0)


def main() -> None:
    with temporary_broker() as broker:
        with Producer(bootstrap_servers=broker, value_serializer=lambda value: json.dumps(value).encode()) as producer:
            for day in range(1, 11):  # made up: one price a day, ten days from 2024-01-01 on
                producer.send("prices", {"day": day, "price": 100 + day}, timestamp_ms=1704067200000 + day * 86_400_000)

        with Consumer(
            bootstrap_servers=broker, auto_offset_reset="earliest", value_deserializer=json.loads
        ) as consumer:
            consumer.assign([PRICES])
            everything = consumer.poll(timeout_ms=1000)[PRICES]
            print(f"{len(everything)} prices, offsets {everything[0].offset} to {everything[-1].offset}")

            found = consumer.offsets_for_times({PRICES: 1704067200000 + 8 * 86_400_000})[PRICES]
            assert found is not None
            consumer.seek(PRICES, found.offset)
            late = [record.value["day"] for record in consumer.poll(timeout_ms=1000)[PRICES]]
            print(f"from day 8 on: {late}")


if __name__ == "__main__":
    main()
