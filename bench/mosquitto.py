"""An MQTT broker for the benches, which can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

__all__ = ["Broker"]

COMMAND = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")


class Broker:
    """Mosquitto, with TCP_NODELAY, on a free port of 127.0.0.1, once it is started.

    there: whether it is installed.
    """

    there = COMMAND is not None

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self._port}"
        self._config = folder / "mosquitto.conf"
        # The user is for where benches run as root: files of theirs are not everybody's.
        lines = f"listener {self._port} 127.0.0.1", "set_tcp_nodelay true", "user root"
        self._config.write_text("\n".join([*lines, "allow_anonymous true", ""]))
        self._process: subprocess.Popen[bytes] | None = None

    def restart(self) -> None:
        """Kill it, if it runs, and start it; it takes connections then."""
        self.stop()
        assert COMMAND is not None
        command = [COMMAND, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self._port), 1),
            ):
                return
            time.sleep(0.01)
        raise RuntimeError(f"mosquitto does not listen on port {self._port}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
