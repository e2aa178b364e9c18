"""An MQTT broker in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        port: int = made.getsockname()[1]
        return port


@contextlib.contextmanager
def mosquitto(folder: Path, port: int, *settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Mosquitto on 127.0.0.1, which takes connections; anonymous unless the settings say more."""
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto")
    config = folder / f"{port}.conf"
    lines = settings or ("allow_anonymous true",)
    # The user is for where tests run as root: files of theirs are not everybody's.
    fixed = f"listener {port} 127.0.0.1", "set_tcp_nodelay true", "user root"
    config.write_text("\n".join([*fixed, *lines, ""]))
    with (folder / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([MOSQUITTO, "-c", config], stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(3000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            break
        pause.wait(0.01)
    pytest.fail(f"mosquitto does not run on port {port}")
