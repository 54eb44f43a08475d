"""Arrays through two worker processes, then read again from the beginning. Run it: python examples/quickstart.py"""

from __future__ import annotations

import multiprocessing

import numpy as np

from shmq import Admin, Consumer, NewTopic, Producer, TopicPartition, temporary_broker

FRAMES = 200


def work(broker: str, partition: int) -> None:
    """Take frames from one partition and send their means."""
    with (
        Consumer(bootstrap_servers=broker, auto_offset_reset="earliest", consumer_timeout_ms=2000) as frames,
        Producer(bootstrap_servers=broker) as means,
    ):
        frames.assign([TopicPartition("frames", partition)])
        for record in frames:
            frame = np.frombuffer(record.value, dtype=np.float32)
            means.send("means", np.float64(frame.mean()).tobytes(), key=record.key)


def main() -> None:
    with temporary_broker() as broker:
        with Admin(bootstrap_servers=broker) as admin, Producer(bootstrap_servers=broker) as producer:
            admin.create_topics([NewTopic("frames", num_partitions=2), NewTopic("means", num_partitions=1)])
            spawn = multiprocessing.get_context("spawn")
            workers = [spawn.Process(target=work, args=(broker, partition)) for partition in range(2)]
            for worker in workers:
                worker.start()
            for number in range(FRAMES):
                frame = np.full((64, 64), number, dtype=np.float32)
                producer.send("frames", frame, key=str(number).encode())
            for worker in workers:
                worker.join()
        options = {"auto_offset_reset": "earliest", "consumer_timeout_ms": 100}
        with Consumer("means", bootstrap_servers=broker, **options) as means:
            found = {int(record.key): float(np.frombuffer(record.value)[0]) for record in means}
            assert found == {number: float(number) for number in range(FRAMES)}
            means.seek_to_beginning()
            again = sum(1 for _ in means)
        print(f"{len(found)} means of {FRAMES} frames, read twice: {again} the second time")


if __name__ == "__main__":
    main()
