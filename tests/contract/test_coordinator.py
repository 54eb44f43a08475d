"""The coordinator as a process: one per broker, started on need, gone when not, and not to be upset."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from shmq import Consumer, OffsetAndMetadata, TopicPartition, coordination, errors, temporary_broker, wire
from shmq.store import Topics

PLACE = TopicPartition("t", 0)


@contextlib.contextmanager
def connected(broker):
    """A connection that has said nothing yet, to a coordinator that runs."""
    coordination.connect(broker.admin.broker).close()
    with socket.socket(socket.AF_UNIX) as connection:
        with coordination.socket_address(str(broker.directory)) as address:
            connection.connect(address)
        connection.settimeout(20)
        yield connection


def told(connection) -> list[wire.Message]:
    """All that comes until it hangs up."""
    decoder, messages = wire.Decoder(), []
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            messages += decoder.feed(data)
    return messages


HELLO = wire.encode({"type": "hello", "protocol": wire.PROTOCOL})
JOIN = {
    "type": "join",
    "group": "g",
    "member_id": "m",
    "instance_id": None,
    "topics": ["t"],
    "pattern": None,
    "strategies": ["range"],
    "owned": [],
    "session_timeout_ms": 45000,
    "max_poll_interval_ms": 300000,
    "client_id": "c",
}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "InvalidRequestError"),
        (b"\xff\xff\xff\xff", "InvalidRequestError"),
        (wire.encode({"type": "hello", "protocol": 0}), "UnsupportedVersionError"),
        (wire.encode({"type": "hello"}), "InvalidRequestError"),
        (wire.encode(JOIN), "UnsupportedVersionError"),
        (HELLO + b"\0\0\0\2[]", "InvalidRequestError"),
        (HELLO + b"\0\0\0\1{", "InvalidRequestError"),
        (HELLO + b"\0\0\0\4" + b"\x80\x04N.", "InvalidRequestError"),
        (HELLO + wire.encode({"type": "nonsense"}), "InvalidRequestError"),
        (HELLO + wire.encode({"type": "join"}), "InvalidRequestError"),
        (HELLO + wire.encode(JOIN | {"group": ""}), "InvalidGroupIdError"),
        (HELLO + wire.encode(JOIN | {"group": 7}), "InvalidRequestError"),
        (HELLO + wire.encode(JOIN | {"topics": "t", "session_timeout_ms": -1}), "InvalidRequestError"),
        (HELLO + wire.encode(JOIN | {"pattern": "("}), "InvalidRequestError"),
        (HELLO + wire.encode(JOIN | {"owned": [["t"]]}), "InvalidRequestError"),
        (HELLO + wire.encode(JOIN | {"strategies": ["mine"]}), "InconsistentGroupProtocolError"),
        (
            HELLO + wire.encode({"type": "request", "id": 1, "name": "list_groups", "arguments": 5}),
            "InvalidRequestError",
        ),
    ],
)
def test_who_does_not_speak_the_protocol_is_told_so_and_hung_up_on(broker, data, error):
    broker.create()
    with connected(broker) as connection:
        pid = broker.coordinator()
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

        assert told(connection)[-1]["error"] == error

    assert coordination.request(broker.admin.broker, "ping") == {"pid": pid}


def test_half_a_frame_is_waited_for_and_disturbs_nobody(broker):
    with connected(broker) as connection:
        connection.sendall(HELLO[:7])
        assert coordination.request(broker.admin.broker, "ping")["pid"] == broker.coordinator()
        connection.sendall(HELLO[7:])

        assert wire.Decoder().feed(connection.recv(65536))[0]["type"] == "welcome"


def test_a_client_that_does_not_read_is_hung_up_on(broker):
    with connected(broker) as connection:
        connection.sendall(HELLO)
        request = {"type": "request", "id": 1, "name": "none" * 1000, "arguments": {}}
        connection.settimeout(None)

        with pytest.raises(OSError):
            for _ in range(100_000):
                connection.sendall(wire.encode(request))

    assert coordination.request(broker.admin.broker, "ping")["pid"] == broker.coordinator()


def test_hundreds_of_connections_at_once(broker):
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connected(broker)) for _ in range(300)]
        for connection in connections:
            connection.sendall(HELLO)
        assert all(wire.Decoder().feed(each.recv(65536))[0]["type"] == "welcome" for each in connections)


def test_an_unknown_request_is_an_error(broker):
    with pytest.raises(errors.IllegalArgumentError, match="no request 'dance'"):
        coordination.request(broker.admin.broker, "dance")


def test_it_holds_nothing_of_who_started_it(broker):
    """subprocess.run() waits for everybody who has its pipes."""
    broker.create()
    began = time.monotonic()

    broker.run(
        "from shmq import Consumer\n"
        "consumer = Consumer('t', bootstrap_servers=address, group_id='g')\n"
        "while not consumer.assignment(): consumer.poll(timeout_ms=100)\n"
    )

    assert time.monotonic() - began < 10
    pid = broker.coordinator()
    assert pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) != os.getsid(0)
    assert {os.readlink(f"/proc/{pid}/fd/{each}") for each in "12"} == {f"{broker.directory}/coordinator.log"}


def test_it_imports_no_numpy():
    code = "import shmq.coordinator.__main__, sys; print('numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_it_leaves_when_nobody_needs_it_and_comes_back_when_somebody_does(broker, wait_until, monkeypatch):
    monkeypatch.setenv("SHMQ_COORDINATOR_LINGER_S", "0.05")
    coordination.connect(broker.admin.broker).close()

    wait_until(lambda: broker.coordinator() == 0)

    assert not (broker.directory / "coordinator.sock").exists()
    assert coordination.running(broker.admin.broker) == 0
    coordination.connect(broker.admin.broker).close()
    wait_until(lambda: broker.coordinator() == 0)
    assert json.loads((broker.directory / "coordinator.lock").read_text())["term"] == 2


def test_it_goes_with_its_broker(wait_until):
    with temporary_broker() as address:
        with Consumer("t", bootstrap_servers=address, group_id="g") as consumer:
            wait_until(lambda: consumer.poll(timeout_ms=5) or consumer.assignment())
        directory = address.removeprefix("shm://")
        pid = json.loads(Path(directory, "coordinator.lock").read_text())["pid"]

    wait_until(lambda: not psutil.pid_exists(pid))
    assert not os.path.exists(directory)


def test_a_stale_socket_is_replaced(broker):
    with socket.socket(socket.AF_UNIX) as stale, coordination.socket_address(str(broker.directory)) as address:
        stale.bind(address)

    assert coordination.request(broker.admin.broker, "ping")["pid"] == broker.coordinator()


def test_many_that_start_it_at_once_get_one(broker):
    children = [broker.fork(lambda: coordination.request(broker.admin.broker, "ping")["pid"]) for _ in range(8)]

    assert {child.result() for child in children} == {broker.coordinator()}


def test_one_that_cannot_start_is_an_error_with_its_last_words(broker, monkeypatch):
    (broker.directory / "coordinator.sock").mkdir()

    with pytest.raises(errors.CoordinatorNotAvailableError, match=r"coordinator\.log"):
        coordination.connect(broker.admin.broker, patience_s=2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_members_go_on_over_the_end_of_a_coordinator(broker, wait_until, number):
    broker.create(partitions=4)
    producer = broker.producer()
    first, second = (broker.consumer("t", group_id="g", auto_commit_interval_ms=10) for _ in "ab")
    wait_until(lambda: first.poll(5) or second.poll(5) or len(first.assignment()) == len(second.assignment()) == 2)
    before = first.assignment()

    old = broker.kill_coordinator(number)
    producer.send("t", b"v", partition=next(iter(before)).partition)
    assert wait_until(lambda: first.poll(timeout_ms=5))
    wait_until(lambda: broker.coordinator() not in (0, old))
    wait_until(lambda: broker.admin.list_groups()[0]["members"] == 2)

    wait_until(lambda: first.poll(5) or second.poll(5) or first.committed(next(iter(before))) == 1)
    assert first.assignment() == before
    first.close()
    wait_until(lambda: second.poll(5) or len(second.assignment()) == 4)


def test_a_member_that_died_with_the_coordinator_is_replaced(broker, wait_until):
    broker.create(partitions=2)
    survivor = broker.consumer("t", group_id="g", session_timeout_ms=500, heartbeat_interval_ms=50)

    def be_a_member():
        consumer = broker.consumer("t", group_id="g", session_timeout_ms=500, heartbeat_interval_ms=50)
        while True:
            consumer.poll(timeout_ms=100)

    child = broker.fork(be_a_member)
    wait_until(lambda: survivor.poll(5) or len(survivor.assignment()) == 1)
    pid = broker.coordinator()
    os.kill(pid, signal.SIGSTOP)
    broker.kill(child)
    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: survivor.poll(5) or len(survivor.assignment()) == 2)


def test_a_damaged_state_is_put_aside_and_what_was_committed_stays(broker, wait_until):
    broker.create()
    producer = broker.producer()
    producer.send("t", b"v")
    consumer = broker.consumer("t", group_id="g")
    wait_until(lambda: consumer.poll(timeout_ms=5))
    consumer.commit()
    broker.kill_coordinator()
    consumer.close(timeout_ms=0)
    state = broker.directory / "groups" / "g" / "state.json"
    state.write_bytes(b'{"term": 1, "group": {}}')

    back = broker.consumer("t", group_id="g")
    wait_until(lambda: back.poll(5) or back.assignment())

    assert back.committed(PLACE) == 1
    assert "begins anew" in (broker.directory / "coordinator.log").read_text()
    assert len(list(state.parent.glob("state.json.damaged-*"))) == 1


def test_serve_runs_in_the_foreground_until_it_is_told_to_end(broker, wait_until):
    command = [sys.executable, "-m", "shmq", "--broker", broker.address, "serve"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        wait_until(lambda: broker.coordinator() == server.pid)
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert second.returncode == 1
        assert "has a coordinator already" in second.stderr
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=20)

    assert server.returncode == 0
    assert "term 1" in log
    assert "Traceback" not in log


def test_it_prepares_segments_ahead_and_applies_retention_where_nobody_produces(broker, wait_until):
    broker.create(storage="memory", segment_bytes=65536, retention_bytes=8 * 65536, retention_ms=1)
    producer = broker.producer()
    for _ in range(8):
        producer.send("t", b"x" * 20_000)
    topics = Topics(broker.admin.broker)
    with topics.opened(topics.load("t")) as [partition]:
        before = partition.stats()["segments"]
        with contextlib.closing(coordination.connect(broker.admin.broker)):
            wait_until(lambda: partition.census()["segments"] == partition.census()["spares"] == 1)
            assert partition.offsets() == (8, 8)

        assert before > 1
        assert partition.verify() is None


def test_a_damaged_group_keeps_no_coordinator_from_starting(broker, wait_until):
    broker.create()
    broker.admin.alter_group_offsets("damaged", {PLACE: OffsetAndMetadata(0, "", -1)})
    broker.kill_coordinator()
    (broker.directory / "groups" / "damaged" / "group.json").write_bytes(b"{")

    consumer = broker.consumer("t", group_id="sound")

    wait_until(lambda: consumer.poll(timeout_ms=5) or consumer.assignment())
