"""What the processes of `healing` do: one kills and sends, one reads."""

import os
import select
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bench.peers.shmq_topic import ShmqMemory
from bench.roles.transfer import READY
from bench.roles.victim import ALIVE

WAIT_MS = 10_000


def kill_and_send(pipe: Connection, peer: ShmqMemory, heard: Connection, stamp_path: str, kills: int) -> None:
    """Kill a producer, send a record, wait until the reader has it; answer both times of every kill."""
    send = peer.open_sender()
    pipe.send(READY)
    pipe.recv()
    times_ns = []
    for number in range(kills):
        died_ns = run_victim(peer, stamp_path)
        send(number.to_bytes(8, "little"))
        if not heard.poll(WAIT_MS / 1000):
            raise TimeoutError(f"kill {number}: the reader has no record after {WAIT_MS} ms")
        arrived_ns: int = heard.recv()
        killed_ns = int.from_bytes(Path(stamp_path).read_bytes(), "little")
        times_ns.append((arrived_ns - killed_ns, arrived_ns - died_ns))
    pipe.send(times_ns)
    peer.close()


def run_victim(peer: ShmqMemory, stamp_path: str) -> int:
    """Start a producer, let it kill itself, reap it; return when its death was observed."""
    command = [sys.executable, "-m", "bench.roles.victim", peer.broker, peer.topic, stamp_path]
    victim = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert victim.stdin is not None
    assert victim.stdout is not None
    pidfd = os.pidfd_open(victim.pid)
    try:
        await_readable(victim.stdout.fileno(), "the victim is not ready")
        if not victim.stdout.read(1):
            raise RuntimeError(f"the victim could not start, status {victim.wait(WAIT_MS / 1000)}")
        victim.stdin.write(b"g")
        victim.stdin.flush()
        await_readable(pidfd, "the victim does not die")
        status = victim.wait()
        died_ns = time.perf_counter_ns()
    finally:
        victim.kill()
        victim.wait()
        os.close(pidfd)
        victim.stdin.close()
        victim.stdout.close()
    if status != -signal.SIGKILL:
        raise RuntimeError(f"the victim ended with status {status}, not by SIGKILL")
    return died_ns


def await_readable(descriptor: int, complaint: str) -> None:
    """Wait until a descriptor can be read, or ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(WAIT_MS):
        raise TimeoutError(f"{complaint} after {WAIT_MS} ms")


def read_on(pipe: Connection, peer: ShmqMemory, told: Connection, kills: int) -> None:
    """Tell when each record after a kill arrived; check that it came right behind a hole."""
    records = peer.open_records()
    pipe.send(READY)
    for number in range(kills):
        alive = next(records)
        if alive.value != ALIVE:
            raise RuntimeError(f"kill {number}: expected {ALIVE!r}, got {alive.value!r} at offset {alive.offset}")
        after = next(records)
        arrived_ns = time.perf_counter_ns()
        if int.from_bytes(after.value, "little") != number or after.offset != alive.offset + 2:
            raise RuntimeError(
                f"kill {number}: no hole of one record between offset {alive.offset} and {after.value!r} "
                f"at offset {after.offset}"
            )
        told.send(arrived_ns)
    pipe.recv()
    peer.close()
