"""The command line, run as a user runs it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


def run(*args: object, expect: int = 0, env: dict[str, str] | None = None) -> Any:
    """Run `splitcodec` with `args`; it must end with the exit code `expect`."""
    done = subprocess.run(
        [sys.executable, "-m", "pysplitcodec", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(env or {})},
    )
    assert done.returncode == expect, done.stderr
    assert "Traceback" not in done.stderr
    return done
