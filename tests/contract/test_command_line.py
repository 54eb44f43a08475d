"""The command `shmq` as a user meets it: real processes, real pipes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from shmq import Consumer, Producer, cli, temporary_broker
from shmq.config.topic import TOPIC_OPTIONS
from shmq.store import collect_instance

DEADLINE_S = 60


@pytest.fixture
def address(broker):
    return broker.address


@pytest.fixture
def shmq(address):
    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(*arguments), input=given, env=environment(address), capture_output=True, timeout=DEADLINE_S
        )

    return run


@pytest.fixture
def shmq_here(address, monkeypatch, capfdbinary):
    """The same in this process, which is faster: for what is refused or only printed."""

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        monkeypatch.setenv("SHMQ_BROKER", address)
        status = cli.run(arguments)
        return subprocess.CompletedProcess(arguments, status, *capfdbinary.readouterr())

    return run


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


def test_a_typed_topic_is_created_and_described_with_dtype_and_shape(shmq):
    created = shmq("topics", "create", "t", "--config", "shmq.dtype=x:f4,y:u1", "--config", "shape=3")
    refused = shmq("topics", "create", "u", "--config", "shmq.dtype=>f4")
    wrong = shmq("produce", "t", given=b"short\n")
    right = shmq("produce", "t", given=b"fifteen bytes..\n")

    [described] = json.loads(shmq("topics", "describe", "t", "--json").stdout)
    table = shmq("topics", "describe", "t").stdout.decode()

    assert created.returncode == 0
    assert (refused.returncode, b"big-endian" in refused.stderr) == (1, True)
    assert (wrong.returncode, b"not 5 bytes" in wrong.stderr) == (1, True)
    assert right.returncode == 0
    assert shmq("consume", "t", "--from-beginning").stdout == b"fifteen bytes..\n"
    assert described["configs"]["shmq.dtype"] == "[('x', '<f4'), ('y', 'u1')]"
    assert "shmq.dtype=[('x', '<f4'), ('y', 'u1')]  shmq.shape=3" in table


def test_records_are_deleted_before_an_offset_or_all(shmq):
    shmq("topics", "create", "t", "--partitions", "2")
    shmq("produce", "t", "--partition", "0", given=b"0\n1\n2\n")
    shmq("produce", "t", "--partition", "1", given=b"3\n")

    before = shmq("topics", "delete-records", "t", "--partition", "0", "--before", "2")
    left = shmq("consume", "t", "--partition", "0", "--from-beginning").stdout
    beyond = shmq("topics", "delete-records", "t", "--partition", "1", "--before", "2")
    everything = shmq("topics", "delete-records", "t", "--all")

    assert before.stdout == b"t-0: the first offset is 2\n"
    assert left == b"2\n"
    assert beyond.returncode == 1
    assert b"t-1: offset 2 is outside 0..1" in beyond.stderr
    assert everything.stdout == b"t-0: the first offset is 3\nt-1: the first offset is 1\n"
    assert shmq("consume", "t", "--from-beginning").stdout == b""


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
        (("topics", "create", "t", "--config", "=1"), 2, "NAME=VALUE"),
        (("topics", "create", "t", "--config", "crc=true", "--config", "crc=false"), 2, "twice"),
        (("topics", "create", "t", "--partitions", "-1"), 2, "x>=1"),
        (("topics", "alter", "t"), 2, "nothing to change"),
        (("topics", "alter", "t", "--config", "crc=true", "--reset", "crc"), 2, "both set and reset"),
        (("topic", "list"), 2, "topics"),
        (("produce", "t", "--json", "--key-separator", ":"), 2, "--key-separator"),
        (("produce", "t", "--key-separator", ""), 2, "empty"),
        (("topics", "delete-records", "nowhere", "--all"), 1, "'nowhere' does not exist"),
        (("topics", "delete-records", "t"), 2, "either --before OFFSET or --all"),
        (("topics", "delete-records", "t", "--partition", "0", "--before", "1", "--all"), 2, "either --before"),
        (("topics", "delete-records", "t", "--before", "1"), 2, "needs --partition"),
        (("topics", "delete-records", "t", "--partition", "0", "--before", "-1"), 2, "not in the range"),
        (("consume", "t", "--offset", "5"), 2, "--partition"),
        (("consume", "t", "--since", "5", "--from-beginning"), 2, "only one of"),
        (("consume", "t", "--timeout-ms", "5"), 2, "--follow"),
        (("consume",), 2, "TOPIC"),
        (("--broker", "localhost:9092", "topics", "list"), 1, "kafka-python"),
        (("topics", "list", "--broker", "localhost:9092"), 1, "kafka-python"),
        (("--broker", "shm:///proc/nowhere", "topics", "list"), 1, "shmq: error:"),
        (("demo", "--input", "/nowhere"), 2, "does not exist"),
    ],
)
def test_bad_input_gives_a_clear_message_and_never_a_traceback(shmq_here, arguments, status, words):
    done = shmq_here(*arguments)

    assert done.returncode == status
    assert words in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"shmq: error: " if status == 1 else b"Usage: ")


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (b'{"value": "ok"}\nnot json\n', "line 2"),
        (b'{"value": "ok"}\n{"valeu": "x"}\n', "line 2"),
        (b'{"value": {"base64": "%"}}\n', "line 1"),
        (b"[]\n", "line 1"),
        ('{"value": "ok"}\n'.encode("utf-16-be"), "line 1"),
    ],
)
def test_a_bad_json_line_is_named_and_what_came_before_it_was_sent(shmq, lines, where):
    done = shmq("produce", "t", "--json", given=lines)

    assert done.returncode == 1
    assert where in done.stderr.decode()
    assert shmq("consume", "t").stdout == b"ok\n" * (lines.count(b"\n") - 1)


def test_a_line_that_is_too_large_is_named_and_what_came_before_it_was_sent(shmq):
    shmq("topics", "create", "t", "--config", "max_message_bytes=10")

    done = shmq("produce", "t", given=b"small\nlarger than ten\nnever read\n")

    assert done.returncode == 1
    assert done.stderr.startswith(b"shmq: error: line 2: ")
    assert b"max_message_bytes" in done.stderr
    assert shmq("consume", "t").stdout == b"small\n"


def test_deleting_goes_on_past_a_topic_that_does_not_exist(shmq):
    shmq("topics", "create", "a")
    shmq("topics", "create", "b")

    done = shmq("topics", "delete", "a", "nowhere", "b")

    assert done.returncode == 1
    assert done.stdout == b"deleted topic a\ndeleted topic b\n"
    assert b"'nowhere' does not exist" in done.stderr
    assert shmq("topics", "list").stdout == b""


def test_the_broker_can_be_named_before_and_behind_the_command(shmq, tmp_path):
    other = f"shm://{tmp_path}/other"

    made = shmq("topics", "create", "t", "--broker", other)

    names = [
        shmq(*words).stdout
        for words in (
            ("--broker", other, "topics", "list"),
            ("topics", "list", "--broker", other),
            ("topics", "list"),
        )
    ]
    instance = json.loads((tmp_path / "other" / "broker.json").read_text())["instance"]
    shutil.rmtree(tmp_path / "other")
    collect_instance(instance)
    assert made.stdout == b"created topic t with 1 partition\n"
    assert names == [b"t\n", b"t\n", b""]


def test_the_help_of_create_lists_every_topic_option(shmq_here):
    shown = shmq_here("topics", "create", "--help").stdout.decode()

    assert [name for name in TOPIC_OPTIONS if name not in shown] == []
    assert "64KiB..512MiB" in shown


def test_output_that_cannot_be_written_is_said_so(shmq, address):
    shmq("topics", "create", "t")

    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("topics", "list"), stdout=full, stderr=subprocess.PIPE, env=environment(address), timeout=DEADLINE_S
        )

    assert done.returncode == 1
    assert done.stderr == b"shmq: error: standard input or output: No space left on device\n"


def test_verify_passes_a_healthy_broker_and_names_what_is_broken(shmq, tmp_path):
    shmq("produce", "t", given=b"x" * 1000 + b"\n")
    healthy = shmq("verify")
    [segment] = (tmp_path / "broker" / "topics" / "t" / "0").glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[data.index(b"xxxx") + 500] ^= 1
    segment.write_bytes(data)

    broken = shmq("verify", "--json")

    assert healthy.returncode == 0
    assert b"1 partition, 0 broken" in healthy.stdout
    assert broken.returncode == 1
    [finding] = json.loads(broken.stdout)
    assert finding["path"] == str(segment)
    assert "CRC32C" in finding["problem"]


def test_verify_names_a_file_that_was_cut_short_and_a_topic_that_cannot_be_read(shmq, tmp_path):
    shmq("produce", "cut", given=b"x\n")
    shmq("topics", "create", "unread")
    [segment] = (tmp_path / "broker" / "topics" / "cut" / "0").glob("*.segment")
    os.truncate(segment, 100)
    (tmp_path / "broker" / "topics" / "unread" / "meta.json").write_text("{")

    done = shmq("verify")

    assert done.returncode == 1
    assert b"2 partitions, 2 broken" in done.stdout
    assert done.stdout.count(b" broken ") == 2
    cut, unread = done.stderr.decode().splitlines()
    assert cut.startswith(f"shmq: {segment} at byte 0: ")
    assert unread.startswith("shmq: unread: ")


def test_gc_removes_what_a_death_left_and_says_so(shmq, tmp_path, address):
    shmq("topics", "create", "t")
    left = tmp_path / "broker" / "creating" / "0123456789abcdef"
    left.mkdir()

    done = shmq("--broker", address, "gc")

    assert done.returncode == 0
    assert not left.exists()
    assert str(left).encode() in done.stdout


def test_gc_counts_the_semaphores_of_the_dead_rather_than_listing_them(shmq, broker):
    bells = [Path(f"/dev/shm/sem.shmq-{broker.instance}-{slot}-9") for slot in (700, 701)]
    for bell in bells:
        bell.touch(0o600)

    done = shmq("gc", "--broker", broker.address)

    assert not any(bell.exists() for bell in bells)
    assert f"removed 2 semaphores /dev/shm/sem.shmq-{broker.instance}-*\n2 leftovers" in done.stdout.decode()


def test_taking_away_a_broker_that_another_collector_took_first_is_no_error():
    with temporary_broker() as address:
        directory = Path(address.removeprefix("shm://"))
        instance = json.loads((directory / "broker.json").read_text())["instance"]
        (directory / "broker.json").unlink()

        first = collect_instance(instance)

    assert first.removed == [f"/dev/shm/shmq-{instance}"]
    assert collect_instance(instance).removed == []


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
    assert "All 30 files were counted, and arrived unchanged and once in every round." in done.stdout
    assert list(own.iterdir()) == []
    owners = [path.read_text() for path in Path("/dev/shm").glob("shmq-*/broker") if path.is_file()]
    assert not [owner for owner in owners if str(own) in owner]


def test_the_demo_prints_names_of_files_that_the_terminal_cannot(tmp_path):
    (tmp_path / os.fsdecode(b"[bold]\xff.py")).write_text("x = (")

    done = subprocess.run(
        command("demo", "--input", str(tmp_path), "--rounds", "1", "--workers", "1"),
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert r"such as [bold]\udcff.py: TokenError" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_demo_quietly_even_while_its_workers_start(tmp_path, wait_until, number):
    (tmp_path / "module.py").write_text("alpha = 1\n")
    own = tmp_path / "own"
    own.mkdir()
    running = subprocess.Popen(
        command("demo", "--input", str(tmp_path), "--workers", "1"),
        env={**os.environ, "TMPDIR": str(own)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a process group of its own, as a terminal makes one
    )
    [worker] = wait_until(lambda: workers_of(running.pid))
    blocked = int(re.search(r"SigBlk:\s*(\w+)", Path(f"/proc/{worker}/status").read_text())[1], 16)

    os.killpg(running.pid, number)
    _, errors = running.communicate(timeout=DEADLINE_S)

    assert blocked & 1 << (number - 1), "a worker would print a traceback of its own"
    assert errors == b""
    assert running.returncode == 128 + number
    assert list(own.iterdir()) == []


def workers_of(pid: int) -> list[int]:
    return [each.pid for each in psutil.Process(pid).children() if "spawn_main" in " ".join(each.cmdline())]


def test_a_race_whose_workers_died_ends_though_nobody_takes_what_is_in_the_queue():
    code = """if True:
        from pathlib import Path
        from shmq.demo.crew import WorkerDiedError
        from shmq.demo.race import _through_queue
        from shmq.demo.source import Source

        if __name__ == "__main__":
            source = Source(Path(), ["a"], [bytes(1 << 20)], {})
            try:
                _through_queue(source, checksums=[], workers=1)  # a worker that has nothing to compare with dies
            except WorkerDiedError as error:
                print(error)
    """

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S)

    assert done.returncode == 0, done.stderr
    assert "ended with status 1" in done.stdout


def test_the_demo_fails_clearly_without_files(tmp_path):
    done = subprocess.run(command("demo", "--input", str(tmp_path)), capture_output=True, text=True, timeout=DEADLINE_S)

    assert done.returncode == 1
    assert "no file below" in done.stderr
