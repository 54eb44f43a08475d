"""A task queue: mails into a local folder, with retries and dead letters. Run it: python examples/mails.py"""

from __future__ import annotations

import json
import mailbox
import multiprocessing
import tempfile
from email.message import EmailMessage

from shmq import AcknowledgeType, Consumer, ConsumerRecord, Producer, ShareConsumer, temporary_broker

WORKERS = 2


class BusyError(Exception):
    """The other side wants it later."""


def deliver(folder: str, task: dict[str, str], delivery: int) -> None:
    """Put a mail into the folder, as an SMTP server would take it, or not."""
    if "@" not in task["to"]:
        raise ValueError(f"{task['to']!r} is no address")
    if ("busy" in task["to"] and delivery < 3) or "never" in task["to"]:
        raise BusyError(f"{task['to']} is busy")
    mail = EmailMessage()
    mail["To"], mail["Subject"] = task["to"], task["subject"]
    mail.set_content(f"try {delivery}")
    mailbox.Maildir(folder).add(mail)


def work(broker: str, folder: str) -> None:
    configs = {"group_id": "mailer", "share_acknowledgement_mode": "explicit", "dead_letter_topic": "undelivered"}
    with ShareConsumer("mails", bootstrap_servers=broker, **configs, consumer_timeout_ms=1000) as tasks:
        for task in tasks:
            try:
                deliver(folder, json.loads(task.value), task.delivery_count)
                tasks.acknowledge(task)
            except BusyError as error:  # again in a moment, by whoever is free then; 5 times in all
                tasks.acknowledge(task, AcknowledgeType.RELEASE, delay_ms=50, reason=str(error))
            except ValueError as error:  # never again
                tasks.acknowledge(task, AcknowledgeType.REJECT, reason=str(error))


def main() -> None:
    context = multiprocessing.get_context("spawn")
    names = [*(f"user{number}@example.org" for number in range(20)), "busy@example.org", "never@example.org", "nobody"]
    with temporary_broker() as broker, tempfile.TemporaryDirectory() as folder:
        mailbox.Maildir(f"{folder}/mail")
        with Producer(bootstrap_servers=broker, value_serializer=lambda task: json.dumps(task).encode()) as producer:
            for name in names:
                producer.send("mails", {"to": name, "subject": "Hello"})
        workers = [context.Process(target=work, args=(broker, f"{folder}/mail")) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

        tries = [int(str(mail.get_payload()).split()[1]) for mail in mailbox.Maildir(f"{folder}/mail")]
        print(f"{len(tries)} mails in the folder, one of them at try {max(tries)}")
        with Consumer("undelivered", bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
            letters = [record for records in consumer.poll(timeout_ms=1000).values() for record in records]
        for letter in sorted(letters, key=tries_of):
            print(f"dead letter, {tries_of(letter)} tries: {json.loads(letter.value)['to']}")


def tries_of(letter: ConsumerRecord) -> int:
    return int(dict(letter.headers)["shmq.dead.delivery_count"] or 0)


if __name__ == "__main__":
    main()
