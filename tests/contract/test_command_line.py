"""The command `shmq` as a user meets it: real processes, real pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shmq import Consumer, Producer

DEADLINE_S = 60


@pytest.fixture
def address(tmp_path):
    return f"shm://{tmp_path}/broker"


@pytest.fixture
def shmq(address):
    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(*arguments), input=given, env=environment(address), capture_output=True, timeout=DEADLINE_S
        )

    yield run
    for topic in json.loads(run("topics", "list", "--json").stdout):
        run("topics", "delete", topic)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "shmq", *arguments]


def environment(address: str) -> dict[str, str]:
    return {**os.environ, "SHMQ_BROKER": address, "COLUMNS": "200"}


def test_lines_go_in_and_come_out(shmq):
    sent = shmq("produce", "t", given=b"one\ntwo\n\xff binary\x00\n")

    read = shmq("consume", "t", "--from-beginning")

    assert sent.returncode == read.returncode == 0
    assert sent.stderr == b"3 records sent to t\n"
    assert read.stdout == b"one\ntwo\n\xff binary\x00\n"


def test_json_lines_carry_everything_there_and_back(shmq, address):
    with Producer(bootstrap_servers=address) as producer:
        producer.send("a", b"\xff\x00", key=b"k", headers=[("h", b"1"), ("bin", b"\xfe")], timestamp_ms=1234)
        producer.send("a", None, key=b"tombstone", timestamp_ms=1235)

    lines = shmq("consume", "a", "--json").stdout
    shmq("produce", "b", "--json", given=lines)

    with Consumer("a", "b", bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        batches = {place.topic: records for place, records in consumer.poll(timeout_ms=1000).items()}
    fields = [[(r.key, r.value, r.headers, r.timestamp) for r in batches[topic]] for topic in "ab"]
    assert len(fields[0]) == 2
    assert fields[0] == fields[1]


def test_keys_headers_and_partitions_are_set_and_shown(shmq, address):
    shmq("topics", "create", "t", "--partitions", "3")

    shmq("produce", "t", "--key-separator", ":", "--header", "who=me", "--partition", "2", given=b"k:v\n")
    shown = shmq("consume", "t", "--print-key", "--print-offset", "--key-separator", "|").stdout

    assert shown == b"2:0|k|v\n"
    with Consumer("t", bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        [[record]] = consumer.poll(timeout_ms=1000).values()
    assert record.headers == [("who", b"me")]


def test_reading_can_begin_at_an_offset_and_end_after_some_records(shmq):
    shmq("produce", "t", given=b"0\n1\n2\n3\n")

    read = shmq("consume", "t", "--partition", "0", "--offset", "1", "--max-messages", "2")

    assert read.stdout == b"1\n2\n"


def test_a_closed_pipe_ends_quietly(shmq, address):
    shmq("produce", "t", given=b"x" * 200 + b"\n" + b"line\n" * 100_000)
    piped = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m shmq consume t | head -n 1; exit ${{PIPESTATUS[0]}}"],
        env=environment(address),
        capture_output=True,
        timeout=DEADLINE_S,
    )

    assert piped.stderr == b""
    assert piped.returncode == 0
    assert piped.stdout == b"x" * 200 + b"\n"


def test_ctrl_c_ends_following_with_130_and_without_a_traceback(shmq, address):
    shmq("produce", "t", given=b"one\n")
    following = subprocess.Popen(
        command("consume", "t", "--follow", "--from-beginning"),
        env=environment(address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert following.stdout is not None
    assert following.stdout.readline() == b"one\n"

    following.send_signal(signal.SIGINT)
    _, errors = following.communicate(timeout=DEADLINE_S)

    assert errors == b""
    assert following.returncode == 130


def test_a_follower_is_woken_by_what_is_sent_later(shmq, address):
    shmq("topics", "create", "t")
    following = subprocess.Popen(
        command("consume", "t", "--follow", "--from-beginning", "--max-messages", "2"),
        env=environment(address),
        stdout=subprocess.PIPE,
    )

    shmq("produce", "t", given=b"one\ntwo\n")
    out, _ = following.communicate(timeout=DEADLINE_S)

    assert out == b"one\ntwo\n"


def test_topics_are_created_described_altered_and_deleted(shmq):
    assert shmq("topics", "create", "t", "--partitions", "2", "--config", "retention.bytes=64MiB").returncode == 0
    shmq("produce", "t", "--partition", "1", given=b"x\n")

    [described] = json.loads(shmq("topics", "describe", "t", "--json").stdout)
    altered = shmq("topics", "alter", "t", "--partitions", "3", "--config", "retention_ms=1000")
    [after] = json.loads(shmq("topics", "describe", "--json").stdout)
    table = shmq("topics", "describe", "t").stdout.decode()
    deleted = shmq("topics", "delete", "t")

    assert [each["end_offset"] for each in described["partitions"]] == [0, 1]
    assert described["configs"]["retention.bytes"] == str(64 << 20)
    assert altered.returncode == deleted.returncode == 0
    assert len(after["partitions"]) == 3
    assert after["configs"]["retention.ms"] == "1000"
    assert "end offset" in table
    assert shmq("topics", "list").stdout == b""


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("consume", "nowhere"), 1, "'nowhere' does not exist"),
        (("topics", "describe", "nowhere"), 1, "'nowhere' does not exist"),
        (("topics", "delete", "nowhere"), 1, "'nowhere' does not exist"),
        (("topics", "create", "../etc"), 1, "cannot name a topic"),
        (("topics", "create", "t", "--replication-factor", "3"), 1, "replicas do not exist yet"),
        (("topics", "create", "t", "--config", "retention_byte=1"), 1, "retention_bytes"),
        (("topics", "create", "t", "--config", "nonsense"), 2, "NAME=VALUE"),
        (("topics", "alter", "t"), 2, "nothing to change"),
        (("consume", "t", "--offset", "5"), 2, "--partition"),
        (("consume",), 2, "TOPIC"),
        (("--broker", "localhost:9092", "topics", "list"), 1, "kafka-python"),
        (("--broker", "shm:///proc/nowhere", "topics", "list"), 1, "shmq: error:"),
        (("demo", "--input", "/nowhere"), 2, "does not exist"),
    ],
)
def test_bad_input_gives_one_clear_line_and_never_a_traceback(shmq, arguments, status, words):
    done = shmq(*arguments)

    assert done.returncode == status
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (b'{"value": "ok"}\nnot json\n', "line 2"),
        (b'{"value": "ok"}\n{"valeu": "x"}\n', "line 2"),
        (b'{"value": {"base64": "%"}}\n', "line 1"),
        (b"[]\n", "line 1"),
    ],
)
def test_a_bad_json_line_is_named_and_what_came_before_it_was_sent(shmq, lines, where):
    done = shmq("produce", "t", "--json", given=lines)

    assert done.returncode == 1
    assert where in done.stderr.decode()
    assert shmq("consume", "t").stdout == b"ok\n" * (lines.count(b"\n") - 1)


def test_verify_passes_a_healthy_broker_and_names_what_is_broken(shmq, tmp_path):
    shmq("produce", "t", given=b"x" * 1000 + b"\n")
    healthy = shmq("verify")
    [segment] = (tmp_path / "broker" / "topics" / "t" / "0").glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[data.index(b"xxxx") + 500] ^= 1
    segment.write_bytes(data)

    broken = shmq("verify", "--json")

    assert healthy.returncode == 0
    assert b"1 partitions, 0 broken" in healthy.stdout
    assert broken.returncode == 1
    [finding] = json.loads(broken.stdout)
    assert finding["path"] == str(segment)
    assert "CRC32C" in finding["problem"]


def test_gc_removes_what_a_death_left_and_says_so(shmq, tmp_path, address):
    shmq("topics", "create", "t")
    left = tmp_path / "broker" / "creating" / "0123456789abcdef"
    left.mkdir()

    done = shmq("--broker", address, "gc")

    assert done.returncode == 0
    assert not left.exists()
    assert str(left).encode() in done.stdout


def test_the_demo_counts_and_races_the_files_of_a_directory(tmp_path):
    for number in range(30):
        (tmp_path / f"module_{number}.py").write_text(f"alpha = {number}\nbeta = alpha + alpha\n" * 20)
    own = tmp_path / "own"
    own.mkdir()

    done = subprocess.run(
        command("demo", "--input", str(tmp_path), "--rounds", "1", "--workers", "2"),
        env={**os.environ, "COLUMNS": "200", "TMPDIR": str(own)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 files" in done.stdout
    assert "1,800" in done.stdout  # alpha, three times in each of 20 * 30 pairs of lines
    assert "All 30 files arrived once, unchanged, every time." in done.stdout
    assert list(own.iterdir()) == []
    owners = [path.read_text() for path in Path("/dev/shm").glob("shmq-*/broker")]
    assert not [owner for owner in owners if str(own) in owner]


def test_the_demo_fails_clearly_without_files(tmp_path):
    done = subprocess.run(command("demo", "--input", str(tmp_path)), capture_output=True, text=True, timeout=DEADLINE_S)

    assert done.returncode == 1
    assert "no file below" in done.stderr
