"""A tail server in a process of its own, whose log is in a test's folder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from pysplitcodec.serve.process import ServerProcess, server_process

TIMEOUT_S = 60

Served = ServerProcess


def serving(folder: Path, *args: object, port: int = 0) -> AbstractContextManager[Served]:
    """`splitcodec serve ARGS`, which answers; arguments that are paths are absolute."""
    return server_process(*args, log=folder / "server.log", port=port)
