"""A tail server in a process of its own, for as long as a `with` block lasts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pysplitcodec.errors import ServerError

__all__ = ["ServerProcess", "server_process"]

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 20


class ServerProcess(NamedTuple):
    """Where it is, the names of all its models, and what it says.

    stream_port: that of packets over TCP, 0 if there is none.
    """

    url: str
    models: list[str]
    process: subprocess.Popen[str]
    log: Path
    stream_port: int = 0


@contextmanager
def server_process(*args: object, log: Path, port: int = 0) -> Iterator[ServerProcess]:
    """`splitcodec serve ARGS`, which answers; it is told to stop when the block is left.

    log: a file that its log is added to.  port: 0 takes a free one.  Raises ServerError if it does
    not start.
    """
    command = [sys.executable, "-m", "pysplitcodec", "serve", *map(str, args), "--json"]
    with (
        log.open("a") as errors,
        subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=log.parent,  # -m looks for modules here first: not wherever the user happens to be
        ) as process,
    ):
        watch = threading.Timer(_START_TIMEOUT_S, process.kill)  # the line below may never come
        watch.start()
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            watch.cancel()
            if not ready:
                said = log.read_text(errors="replace").strip()
                raise ServerError(f"the tail server did not start: {said}")
            yield ServerProcess(**json.loads(ready), process=process, log=log)
        finally:
            watch.cancel()
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
