"""A nightly batch over what piled up: stop at the end of a day, and do a day again after a bug was fixed.

Run it: python examples/nightly.py
"""

from __future__ import annotations

import json

from shmq import Admin, Consumer, Producer, TopicPartition, temporary_broker

SALES = TopicPartition("sales", 0)
DAY_MS = 86_400_000
FIRST_MS = 1_704_067_200_000  # 2024-01-01


def pile_up(broker: str, day: int) -> None:
    """A day's sales: 1, 2 and 3 apples, and one return."""
    with Producer(bootstrap_servers=broker) as producer:
        for hour, apples in enumerate((1, 2, 3, -1)):
            text = json.dumps({"day": day, "apples": apples})
            producer.send("sales", text.encode(), timestamp_ms=FIRST_MS + day * DAY_MS + hour * 3_600_000)


def run_batch(broker: str, until_day: int, returns_count: bool) -> dict[int, int]:
    """Add up what the group has not done yet, up to the end of a day; commit only once that is done."""
    sums: dict[int, int] = {}
    with Consumer(
        "sales", bootstrap_servers=broker, group_id="nightly", auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        while not consumer.assignment():
            consumer.poll(timeout_ms=100, update_offsets=False)
        end = consumer.offsets_for_times({SALES: FIRST_MS + (until_day + 1) * DAY_MS})[SALES]
        stop = consumer.end_offsets([SALES])[SALES] if end is None else end.offset
        while consumer.position(SALES) < stop:
            for record in consumer.poll(timeout_ms=1000, max_records=stop - consumer.position(SALES)).get(SALES, []):
                sale = json.loads(record.value)
                if sale["apples"] > 0 or returns_count:
                    sums[sale["day"]] = sums.get(sale["day"], 0) + sale["apples"]
        consumer.commit()
    return sums


def main() -> None:
    with temporary_broker() as broker:
        for day in range(3):
            pile_up(broker, day)
        print("night 1:", run_batch(broker, 0, returns_count=False))
        print("night 2:", run_batch(broker, 2, returns_count=False), "- returns were forgotten: fix, and do it again")

        with Admin(bootstrap_servers=broker) as admin:
            again = {SALES: {"timestamp": FIRST_MS + 1 * DAY_MS}}
            print("rewound to", admin.reset_group_offsets("nightly", again)[SALES]["offset"])
        print("again:", run_batch(broker, 2, returns_count=True))


if __name__ == "__main__":
    main()
