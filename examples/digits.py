"""1,797 digits through 3 workers, one of them killed. Run it: pip install scikit-learn; python examples/digits.py"""

from __future__ import annotations

import multiprocessing

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from shmq import Consumer, Producer, ShareConsumer, temporary_broker

WORKERS = 3
CELL, ANGLES = 4, 8
Array = NDArray[np.float64]


def features(image: Array) -> Array:
    """How much edge there is in each corner of the image, by direction."""
    down, across = np.gradient(image)
    angle = np.floor((np.arctan2(down, across) / np.pi + 1) / 2 * ANGLES).astype(int) % ANGLES
    length = np.hypot(down, across)
    cells = [np.s_[row : row + CELL, column : column + CELL] for row in (0, 2, 4) for column in (0, 2, 4)]
    return np.concatenate([np.bincount(angle[cell].ravel(), length[cell].ravel(), ANGLES) for cell in cells])


def work(broker: str) -> None:
    """One image at a time. It is done when the next one is asked for, so its features are in the log by then."""
    configs = {"group_id": "extract", "consumer_timeout_ms": 1000}
    with (
        ShareConsumer("images", bootstrap_servers=broker, **configs) as images,
        Producer(bootstrap_servers=broker) as producer,
    ):
        for record in images:
            image = np.frombuffer(record.value).reshape(8, 8)
            producer.send("features", features(image), key=record.key)


def main() -> None:
    digits = load_digits()
    context = multiprocessing.get_context("spawn")
    with temporary_broker() as broker:
        with Producer(bootstrap_servers=broker) as producer:
            keys = [b"%d" % number for number in range(len(digits.images))]
            producer.send_many("images", [np.ascontiguousarray(image) for image in digits.images], keys)
        workers = [context.Process(target=work, args=(broker,)) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()

        found: dict[int, Array] = {}  # by number: what the killed worker had not finished may come twice
        with Consumer("features", bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
            while len(found) < len(digits.images):
                for records in consumer.poll(timeout_ms=1000).values():
                    found |= {int(record.key): np.frombuffer(record.value) for record in records}
                if len(found) > 100 and workers[0].is_alive():
                    workers[0].kill()  # in the middle of an image, as often as not
        for worker in workers:
            worker.join()

    together = np.array([found[number] for number in range(len(found))])
    alone = np.array([features(image) for image in digits.images])
    half = len(alone) // 2
    model = LogisticRegression(max_iter=1000).fit(together[:half], digits.target[:half])
    print(f"{model.score(together[half:], digits.target[half:]):.0%} of the digits that it never saw are read right")
    codes = sorted(worker.exitcode or 0 for worker in workers)
    is_same = np.array_equal(together, alone)
    print(f"{len(together)} digits by {WORKERS} workers, which ended with {codes}: the same: {is_same}")


if __name__ == "__main__":
    main()
