"""Features for a model: source, scaler and model, each a process, arrays in between.

Run it: pip install scikit-learn; python examples/pipeline.py
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from shmq import Admin, Consumer, Producer, temporary_broker

STAMPS = ("stamps_ns", "i8", (3,))  # when it left the source, the scaler and the model
FRAME, ANSWER = np.dtype([STAMPS, ("pixels", "f4", (64,))]), np.dtype([STAMPS, ("digit", "i8")])
TOPICS = {"raw": FRAME, "scaled": FRAME, "answers": ANSWER}
BATCH = 16  # images that the source sends at once
BINS_US = [0, 50, 100, 200, 500, 1000, 10_000, np.inf]


def stage(broker: str, place: int, source: str, sink: str, field: str, work: Callable[[Any], Any], count: int) -> None:
    """Take frames where they lie in shared memory; write what `work` makes of them where the next stage reads it."""
    with (
        Consumer(source, bootstrap_servers=broker, auto_offset_reset="earliest") as consumer,
        Producer(bootstrap_servers=broker) as producer,
    ):
        while count > 0:
            for batch in consumer.poll_arrays(timeout_ms=1000).values():
                with producer.reserve(sink, len(batch)) as made:
                    made[field] = work(batch.items["pixels"])
                    made["stamps_ns"] = batch.items["stamps_ns"]
                    made["stamps_ns"][:, place] = time.monotonic_ns()
                count -= len(batch)


def show(latencies_us: dict[str, NDArray[np.float64]]) -> None:
    table = Table("us", *latencies_us, title="images by the time that a stage took, waiting and sending included")
    columns = [np.histogram(each, BINS_US)[0] for each in latencies_us.values()]
    for low, high, *counts in zip(BINS_US, BINS_US[1:], *columns, strict=False):
        table.add_row(f"{low:g} to {high:g}", *(f"{count:5} {'#' * (count // 90)}" for count in counts))
    Console().print(table)


def main() -> None:
    digits = load_digits()
    images, count = digits.data.astype(np.float32), len(digits.data)
    mean, deviation = images.mean(axis=0), images.std(axis=0) + 1
    model = LogisticRegression(max_iter=2000).fit((images[:900] - mean) / deviation, digits.target[:900])
    context = multiprocessing.get_context("fork")
    with temporary_broker() as broker, Admin(bootstrap_servers=broker) as admin:
        admin.create_topics({name: {"configs": {"dtype": TOPICS[name], "storage": "memory"}} for name in TOPICS})
        scaler = (broker, 1, "raw", "scaled", "pixels", lambda pixels: (pixels - mean) / deviation, count)
        reader = (broker, 2, "scaled", "answers", "digit", model.predict, count)
        stages = [context.Process(target=stage, args=each) for each in (scaler, reader)]
        for each in stages:
            each.start()
        answers: list[NDArray[Any]] = []
        with (
            Producer(bootstrap_servers=broker) as producer,
            Consumer("answers", bootstrap_servers=broker, auto_offset_reset="earliest") as consumer,
        ):
            for first in range(0, count, BATCH):
                with producer.reserve("raw", len(images[first : first + BATCH])) as frames:
                    frames["pixels"] = images[first : first + BATCH]
                    frames["stamps_ns"] = time.monotonic_ns()
                while sum(map(len, answers)) < min(first + BATCH, count):
                    answers += [batch.items for batch in consumer.poll_arrays(timeout_ms=1000).values()]
        for each in stages:
            each.join()
    answer = np.concatenate(answers)
    took_us = np.diff(answer["stamps_ns"], axis=1) / 1000
    show({"scaler": took_us[:, 0], "model": took_us[:, 1]})
    is_same = np.array_equal(answer["digit"], model.predict((images - mean) / deviation))
    print(f"{count} digits through 2 stages: the same as in one process: {is_same}")


if __name__ == "__main__":
    main()
