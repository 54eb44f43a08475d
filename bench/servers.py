"""Servers that a measurement starts for itself: on ports of their own on loopback, in a directory of their own.

Owns: starting them, waiting until they answer, ending them by their id.
Must never: touch a server that somebody else runs, or leave one running.
Sits: under the perspective suite; its peers get the port.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.plan import NotHereError

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S, END_TIMEOUT_S = 60.0, 20.0
RETRY_S = 0.05
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # not the one in sbin, which changes the user


@contextlib.contextmanager
def run_redis(directory: Path) -> Iterator[int]:
    """Run a Redis that saves nothing; give its port."""
    program = find(shutil.which("redis-server"), "redis-server")
    (port,) = free_ports(1)
    command = [program, "--bind", LOOPBACK, "--port", str(port), "--dir", str(directory)]
    with started([*command, "--save", "", "--appendonly", "no"], directory, {}) as server:
        wait_until_it_answers(server, port)
        yield port


@contextlib.contextmanager
def run_rabbitmq(directory: Path) -> Iterator[int]:
    """Run a RabbitMQ node without plugins, and the port mapper that Erlang wants; give its port."""
    program = find(str(RABBITMQ) if RABBITMQ.exists() else None, "rabbitmq-server")
    mapper = find(shutil.which("epmd"), "epmd")
    port, distribution_port, mapper_port = free_ports(3)
    plugins = directory / "plugins"
    plugins.write_text("[].\n")
    settings = {
        "HOME": str(directory),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(mapper_port),
        "RABBITMQ_NODENAME": f"bench-{os.getpid()}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_CONFIG_FILE": str(directory / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
        "RABBITMQ_MNESIA_BASE": str(directory),
        "RABBITMQ_LOG_BASE": str(directory),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
    }
    with (
        started([mapper, "-address", LOOPBACK, "-port", str(mapper_port)], directory, settings),
        started([program], directory, settings) as server,
    ):
        wait_until_it_answers(server, port)
        yield port


def find(path: str | None, name: str) -> str:
    """Return where a program is; NotHereError if it is not installed."""
    if path is None:
        raise NotHereError(f"{name} is not installed (Debian: apt install {name})")
    return path


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody has."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def started(command: list[str], directory: Path, settings: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server in a process group of its own; end the group, by SIGKILL if SIGTERM is not enough."""
    with (directory / "output").open("ab") as output:
        server = subprocess.Popen(
            command, env={**os.environ, **settings}, cwd=directory, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield server
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(END_TIMEOUT_S)


def wait_until_it_answers(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until somebody listens; RuntimeError if the server ends, TimeoutError if nobody does in time."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), RETRY_S):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"{server.args!r} ended with status {server.wait(RETRY_S)}")
    raise TimeoutError(f"{server.args!r} does not answer within {START_TIMEOUT_S:.0f} s")
