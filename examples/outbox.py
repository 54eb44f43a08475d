"""Sends that fail are kept in SQLite, and sent again when there is room. Run it: python examples/outbox.py"""

from __future__ import annotations

import sqlite3

from shmq import Admin, Consumer, Producer, TopicPartition, temporary_broker
from shmq.errors import RetriableError

ORDERS = TopicPartition("orders", 0)
SMALL = {"retention": "consumed", "segment_bytes": 65536, "retention_bytes": 131072, "storage": "memory"}


class Outbox:
    """What could not be sent yet, in order."""

    def __init__(self, producer: Producer, path: str) -> None:
        self._producer = producer
        self._kept = sqlite3.connect(path)
        self._kept.execute("create table if not exists kept (number integer primary key, topic text, value blob)")

    def __len__(self) -> int:
        return int(self._kept.execute("select count(*) from kept").fetchone()[0])

    def send(self, topic: str, value: bytes) -> None:
        """Send it, or keep it; behind what is kept already, so that order stays."""
        self.send_kept()
        try:
            if len(self):
                raise RetriableError("others are waiting")
            self._producer.send(topic, value).get()
        except RetriableError:
            with self._kept:
                self._kept.execute("insert into kept (topic, value) values (?, ?)", (topic, value))

    def send_kept(self) -> None:
        """Send what is kept, as far as there is room; sent twice if we die in between, lost never."""
        for number, topic, value in self._kept.execute("select * from kept order by number").fetchall():
            try:
                self._producer.send(topic, value).get()
            except RetriableError:
                return
            with self._kept:
                self._kept.execute("delete from kept where number = ?", (number,))


def main() -> None:
    with temporary_broker() as broker:
        with Admin(bootstrap_servers=broker) as admin:
            admin.create_topics({"orders": {"configs": SMALL}})
        with (
            Producer(bootstrap_servers=broker, max_block_ms=0) as producer,
            Consumer("orders", bootstrap_servers=broker, auto_offset_reset="earliest") as shop,
        ):
            outbox = Outbox(producer, ":memory:")
            for number in range(20):
                outbox.send("orders", b"order %d " % number + b"." * 10_000)
            print(f"the shop is closed: {len(outbox)} of 20 orders are kept")

            served: list[int] = []
            while len(served) < 20:
                for record in shop.poll(timeout_ms=100).get(ORDERS, []):
                    served.append(int(record.value.split()[1]))
                outbox.send_kept()
            print(f"the shop is open: served in order: {served == list(range(20))}, kept: {len(outbox)}")


if __name__ == "__main__":
    main()
