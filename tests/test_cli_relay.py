"""`splitcodec relay`, run as a user runs it: in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import run

pytest.importorskip("typer", reason="the command line needs the extra 'cli'")

TIMEOUT_S = 60

LOSSY = """
[radio]
bits_per_s = 8_000_000
latency_s = 0.04
packet_payload_bytes = 1_460
loss = 0.999

[radio.sources]
bits_per_s = "made up"
latency_s = "made up"
packet_payload_bytes = "made up"
loss = "made up"
"""


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that answers one connection with what it says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                while chunk := connection.recv(65_536):
                    connection.sendall(chunk)

        answering = threading.Thread(target=answer)
        answering.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        answering.join(TIMEOUT_S)


@contextlib.contextmanager
def relaying(*args: object) -> Iterator[tuple[dict[str, object], socket.socket]]:
    """What it prints as JSON, and a connection to it; then it is interrupted, and must be well."""
    with subprocess.Popen(
        [sys.executable, "-m", "pysplitcodec", "relay", *map(str, args), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    ) as process:
        watch = threading.Timer(TIMEOUT_S, process.kill)
        watch.start()
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", said["port"]), TIMEOUT_S) as client:
                yield said, client
            process.send_signal(signal.SIGINT)
            rest, messages = process.communicate(timeout=TIMEOUT_S)
        finally:
            watch.cancel()
            process.kill()
    assert process.returncode == 0 and rest == ""
    assert f"127.0.0.1:{said['port']} is {said['to']} over {said['link']}" in messages
    assert "Traceback" not in messages


def test_it_passes_bytes_on_at_the_rate_of_a_link_until_interrupted(echo: int) -> None:
    with relaying(f"127.0.0.1:{echo}", "--link", "1e6") as (said, client):
        assert said["to"] == f"127.0.0.1:{echo}" and said["link"] == "1e+06 bit/s"
        begin_s = time.monotonic()
        client.sendall(bytes(10_000))
        client.shutdown(socket.SHUT_WR)
        found = b"".join(iter(lambda: client.recv(65_536), b""))
        assert found == bytes(10_000)
        assert time.monotonic() - begin_s > 0.08 - 0.001


def test_a_link_of_a_file_loses_packets(echo: int, tmp_path: Path) -> None:
    (tmp_path / "radio.toml").write_text(LOSSY)
    args = ("--link", tmp_path / "radio.toml", "--jitter-ms", 2.5, "--seed", 3)
    with relaying(f"localhost:{echo}", *args) as (said, client):
        assert said["link"] == "radio"
        client.sendall(b"x")
        client.settimeout(0.5)
        with pytest.raises((TimeoutError, socket.timeout)):  # a thousand tries, 120 s each
            client.recv(1)


@pytest.mark.parametrize(
    "to", ["8000", "host", "host:", ":8000", "http://host:8000", "[::1]:8000", "host:-1"]
)
def test_what_is_no_server(to: str) -> None:
    error = run("relay", "--link", "wifi", "--", to, expect=3).stderr
    assert f"server is '{to}': expected HOST:PORT" in error


def test_other_wrong_arguments() -> None:
    assert "port is 0: expected 1 to 65535" in run("relay", "h:0", "--link", "1e6", expect=3).stderr
    args = ("relay", "h:1", "--link")
    assert "link is 'warp': expected one of" in run(*args, "warp", expect=3).stderr
    for option in ("--jitter-ms", "--seed"):
        run(*args, "1e6", option, "-1", expect=2)
