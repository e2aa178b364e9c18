"""The bench of the server in its short form: nothing wrong, nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NEEDS = 'needs "pysplitcodec[serve,onnx]"'
for package in ("httpx", "starlette", "uvicorn", "prometheus_client", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason=NEEDS)

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("part", ["overhead", "malformed", "kill", "broker", "links", "messages"])
def test_quick(part: str, tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "bench" / "serving.py", "--quick", "--only", part]
    found = tmp_path / "serving.json"
    done = subprocess.run(
        [*command, "-o", found], capture_output=True, text=True, timeout=300, env=environment()
    )
    assert not done.returncode, done.stderr
    row = json.loads(found.read_text())[part]
    assert row["quick"] and row["wrong"] == 0
    if part == "malformed":
        assert sum(sum(counts.values()) for counts in row["answers"].values()) == 10_000
        assert row["alive"] and not row["tracebacks"]
        assert row["answers"]["wrong_token"].keys() == {"401"}
    if part in ("kill", "broker") and "skipped" not in row:
        assert row["answered"] == row["frames"] and len(row["recovered_s"]) == row["kills"] > 0
    if part == "messages":
        assert row["resent"] and row["repeated"]


def environment() -> dict[str, Any]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}
