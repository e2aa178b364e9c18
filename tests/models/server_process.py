"""A tail server in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TIMEOUT_S = 60


class Served(NamedTuple):
    """Where it is, what it has, and what it says."""

    url: str
    models: list[str]
    process: subprocess.Popen[str]
    log: Path


@contextlib.contextmanager
def serving(folder: Path, *args: object, port: int = 0) -> Iterator[Served]:
    """`splitcodec serve ARGS`, which answers; its log goes to a file in the folder."""
    command = [sys.executable, "-m", "pysplitcodec", "serve", *map(str, args)]
    log = folder / "server.log"
    with (
        log.open("a") as stderr,
        subprocess.Popen(
            [*command, "--port", str(port), "--json"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        watch = threading.Timer(TIMEOUT_S, process.kill)  # the line below may never come
        watch.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                pytest.fail(f"the server did not start: {log.read_text()}")
            yield Served(**json.loads(line), process=process, log=log)
        finally:
            watch.cancel()
            process.kill()
