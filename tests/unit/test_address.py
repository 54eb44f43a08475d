from __future__ import annotations

import pytest

from shmq.errors import KafkaConfigurationError
from shmq.store.address import broker_directory

HOME = {"HOME": "/home/me"}


@pytest.mark.parametrize(
    ("servers", "environment", "directory"),
    [
        ("shm://jobs", HOME, "/home/me/.local/share/shmq/jobs"),
        ("shm://jobs", {"XDG_DATA_HOME": "/data"}, "/data/shmq/jobs"),
        ("shm://jobs", {"XDG_DATA_HOME": "relative", **HOME}, "/home/me/.local/share/shmq/jobs"),
        ("shm:///srv/broker", HOME, "/srv/broker"),
        ("shm:///srv/../x//y/", HOME, "/x/y"),
        ("shm:////srv/x", HOME, "/srv/x"),
        (("shm://jobs",), HOME, "/home/me/.local/share/shmq/jobs"),
        (None, HOME, "/home/me/.local/share/shmq/default"),
        ("localhost", HOME, "/home/me/.local/share/shmq/default"),
        (None, {"SHMQ_BROKER": "shm:///srv/b", **HOME}, "/srv/b"),
        ("localhost", {"SHMQ_BROKER": "shm://b", **HOME}, "/home/me/.local/share/shmq/b"),
        ("shm://jobs", {"SHMQ_BROKER": "shm:///srv/b", **HOME}, "/home/me/.local/share/shmq/jobs"),
        (None, {"SHMQ_BROKER": "", **HOME}, "/home/me/.local/share/shmq/default"),
    ],
)
def test_an_address_names_a_directory(
    servers: str | tuple[str, ...] | None, environment: dict[str, str], directory: str
) -> None:
    assert broker_directory(servers, environment) == directory


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        ("localhost:9092", "real Kafka clusters are reached with kafka-python"),
        ("kafka1.example.com:9092", "real Kafka clusters"),
        (("localhost:9092",), "real Kafka clusters"),
        (("a:1", "b:2"), "must name one broker"),
        ("smh://jobs", "did you mean shm://jobs?"),
        ("shm:jobs", "did you mean shm://jobs?"),
        ("SHM://jobs", "did you mean shm://jobs?"),
        ("jobs", "did you mean shm://jobs?"),
        ("/srv/broker", "did you mean shm:///srv/broker?"),
        ("shm://", "name is empty"),
        ("shm://srv/broker", "for a directory write shm:///absolute/path"),
        ("shm://~/broker", "for a directory write"),
        ("shm://..", "begins with a letter or a digit"),
        ("shm:///", "root directory"),
        ("shm:///..", "root directory"),
        ("shm:///a\0b", "zero character"),
        ("", "real Kafka clusters"),
    ],
)
def test_anything_else_is_refused_with_what_is_possible(servers: str | tuple[str, ...], said: str) -> None:
    with pytest.raises(KafkaConfigurationError) as refused:
        broker_directory(servers, HOME)

    assert said in str(refused.value)
    assert refused.value.option == "bootstrap_servers"


def test_a_faulty_environment_is_named() -> None:
    with pytest.raises(KafkaConfigurationError, match=r"^SHMQ_BROKER='localhost:9092'"):
        broker_directory(None, {"SHMQ_BROKER": "localhost:9092"})
