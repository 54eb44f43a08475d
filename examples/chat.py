"""A chat between terminals: what was said before is there when somebody joins.

Run it in several terminals: python examples/chat.py ANNA. Without a name, two people talk by themselves.
"""

from __future__ import annotations

import sys
import threading

from shmq import Consumer, Producer, temporary_broker
from shmq.errors import WakeupError


def say(producer: Producer, name: str, text: str) -> None:
    producer.send("chat", text.encode(), key=name.encode()).get()


def listen(consumer: Consumer, until: int | None = None) -> None:
    """Print what is said, from the beginning on; no group, since everybody is to hear everything."""
    heard = 0
    try:
        for record in consumer:
            print(f"{record.key.decode()}: {record.value.decode()}", flush=True)
            heard += 1
            if heard == until:
                return
    except WakeupError:
        return


def talk(name: str) -> None:
    with Producer() as producer, Consumer("chat", auto_offset_reset="earliest") as consumer:
        listening = threading.Thread(target=listen, args=(consumer,))
        listening.start()
        try:
            for line in sys.stdin:
                say(producer, name, line.rstrip())
        finally:
            consumer.wakeup()
            listening.join()


def play() -> None:
    with temporary_broker() as broker, Producer(bootstrap_servers=broker) as producer:
        say(producer, "Anna", "Anybody here?")
        say(producer, "Anna", "I shall wait.")
        with Consumer("chat", bootstrap_servers=broker, auto_offset_reset="earliest") as bert:
            say(producer, "Bert", "Here I am, and I have read it all.")
            listen(bert, until=3)


if __name__ == "__main__":
    talk(sys.argv[1]) if len(sys.argv) > 1 else play()
