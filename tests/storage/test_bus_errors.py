"""SIGBUS that is not ours goes to whoever handled it before; ours never does, and nobody is called for ever."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 30

# Each script has `address`, `touch_torn()` (a fault in a mapped file that has nothing to do with shmq) and `torn_log()`
# (a fault of ours: what poll() says of a segment that was cut short).
PRELUDE = """
import ctypes, faulthandler, glob, mmap, os, signal, sys

def tear(path):
    with open(path, "w+b") as file:
        file.write(b"x" * 8192)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 8192)
    os.truncate(path, 0)
    return mapped

def touch_torn():
    return tear(scratch + "/torn")[4096]

def torn_log(again=[0]):
    import shmq
    again[0] += 1
    topic = f"t{again[0]}"
    with shmq.Producer(bootstrap_servers=address) as producer:
        producer.send(topic, b"v")
    with shmq.Consumer(topic, bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        os.truncate(glob.glob(f"{directory}/topics/{topic}/0/*.segment")[0], 0)
        try:
            consumer.poll()
        except shmq.errors.StorageError:
            return "StorageError"
"""


@pytest.fixture
def run(broker: Any, tmp_path: Path) -> Any:
    """Run a script in a fresh interpreter: (exit status, stdout, stderr)."""
    broker.has_deaths = True

    def run_script(script: str) -> tuple[int, str, str]:
        words = f"address, directory, scratch = {broker.address!r}, {str(broker.directory)!r}, {str(tmp_path)!r}\n"
        done = subprocess.run(
            [sys.executable, "-c", words + PRELUDE + script],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "PYTHONFAULTHANDLER"},
        )
        return done.returncode, done.stdout, done.stderr

    return run_script


def test_our_own_fault_is_an_error_whatever_handler_was_there_before(run: Any) -> None:
    status, out, _ = run(
        """
print(torn_log())
signal.signal(signal.SIGBUS, lambda *_: print("called"))
print(torn_log())
faulthandler.enable()
print(torn_log(), torn_log())
"""
    )

    assert (status, out.split()) == (0, ["StorageError"] * 4)


def test_a_foreign_fault_kills_the_process_when_nobody_handles_it(run: Any) -> None:
    status, out, _ = run("print(torn_log(), flush=True); touch_torn()")

    assert (status, out.split()) == (-signal.SIGBUS, ["StorageError"])


def test_a_foreign_fault_reaches_the_faulthandler_that_was_enabled_before_us(run: Any) -> None:
    status, out, error = run("faulthandler.enable(); print(torn_log(), flush=True); touch_torn()")

    assert (status, out.split()) == (-signal.SIGBUS, ["StorageError"])
    assert error.count("Fatal Python error: Bus error") == 1
    assert "touch_torn" in error


def test_a_foreign_fault_reaches_the_faulthandler_that_was_enabled_after_us(run: Any) -> None:
    status, _, error = run("print(torn_log()); faulthandler.enable(); touch_torn()")

    assert status == -signal.SIGBUS
    assert error.count("Fatal Python error: Bus error") == 1


def test_two_handlers_that_were_installed_over_one_another_do_not_call_each_other_for_ever(run: Any) -> None:
    """Ours, then faulthandler's over it, then ours again: each has the other as the one before it."""
    status, _, error = run("print(torn_log()); faulthandler.enable(); print(torn_log()); touch_torn()")

    assert status == -signal.SIGBUS
    assert 1 <= error.count("Fatal Python error: Bus error") <= 2


def test_a_python_handler_that_was_installed_before_gets_what_kill_sends(run: Any) -> None:
    status, out, _ = run(
        """
signal.signal(signal.SIGBUS, lambda *_: print("called"))
print(torn_log())
os.kill(os.getpid(), signal.SIGBUS)
print(torn_log())
"""
    )

    assert (status, out.split()) == (0, ["StorageError", "called", "StorageError"])


def test_a_signal_that_was_ignored_before_is_still_ignored(run: Any) -> None:
    status, out, _ = run(
        """
signal.signal(signal.SIGBUS, signal.SIG_IGN)
print(torn_log())
os.kill(os.getpid(), signal.SIGBUS)
print(torn_log())
"""
    )

    assert (status, out.split()) == (0, ["StorageError", "StorageError"])


def test_a_sent_sigbus_kills_as_it_would_without_us(run: Any) -> None:
    status, out, _ = run("print(torn_log(), flush=True); os.kill(os.getpid(), signal.SIGBUS)")

    assert (status, out.split()) == (-signal.SIGBUS, ["StorageError"])


HEALER = """
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

int calls;

/* Puts a fresh page where one is missing, as a library with files of its own may do. */
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    calls++;
    mmap((void *)((uintptr_t)info->si_addr & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

void install(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, 0);
}
"""


def test_a_handler_that_mends_its_own_faults_goes_on_doing_so(run: Any, tmp_path: Path) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc to build another library's handler with")
    library, source = tmp_path / "healer.so", tmp_path / "healer.c"
    source.write_text(HEALER)
    subprocess.run([gcc, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)

    status, out, _ = run(
        f"""
healer = ctypes.CDLL({str(library)!r})
healer.install()
print(torn_log(), ctypes.c_int.in_dll(healer, "calls").value)
print(touch_torn(), ctypes.c_int.in_dll(healer, "calls").value)
print(torn_log(), ctypes.c_int.in_dll(healer, "calls").value)
"""
    )

    assert (status, out.split("\n")[:3]) == (0, ["StorageError 0", "0 1", "StorageError 1"])


def test_a_value_in_a_torn_file_of_the_callers_is_an_error_and_is_not_sent(run: Any) -> None:
    status, out, _ = run(
        """
import shmq
with shmq.Producer(bootstrap_servers=address) as producer:
    producer.send("t", b"before")
    try:
        producer.send("t", memoryview(tear(scratch + "/mine")))
    except shmq.errors.StorageError:
        print("StorageError")
    producer.send("t", b"after")
with shmq.Consumer("t", bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=500) as consumer:
    print([record.value for record in consumer])
"""
    )

    assert (status, out.split("\n")[:2]) == (0, ["StorageError", "[b'before', b'after']"])


def test_faults_of_many_threads_at_once_each_become_an_error(run: Any) -> None:
    status, out, _ = run(
        """
import threading
import shmq
results = []
topics = [f"t{n}" for n in range(8)]
with shmq.Producer(bootstrap_servers=address) as producer:
    for topic in topics:
        producer.send(topic, b"v" * 900_000)
consumers = [shmq.Consumer(topic, bootstrap_servers=address, auto_offset_reset="earliest") for topic in topics]
for path in glob.glob(f"{directory}/topics/t?/0/*.segment"):
    os.truncate(path, 4096)
start = threading.Barrier(len(consumers))
def poll(consumer):
    start.wait()
    for _ in range(50):
        try:
            consumer.poll()
        except shmq.errors.StorageError:
            results.append(1)
threads = [threading.Thread(target=poll, args=(each,)) for each in consumers]
[each.start() for each in threads]
[each.join() for each in threads]
[each.close() for each in consumers]
print(len(results))
"""
    )

    assert (status, out.split()) == (0, ["400"])
