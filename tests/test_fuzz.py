"""A bounded share of fuzzing; `tests/fuzz/README.md` says how to do more of it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FUZZ = Path(__file__).resolve().parent / "fuzz"
EXECUTIONS = 20_000

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="guard pages of Linux"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed"),
]


def _runner() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz_run", FUZZ / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_targets(tmp_path: Path) -> None:
    """The same executions every time."""
    if _runner().find_clang() is None:
        pytest.skip("no clang with libFuzzer is installed")
    results = tmp_path / "results.json"
    amount = ["--executions", str(EXECUTIONS), "--seed", "1"]
    outputs = ["--work", str(tmp_path), "--json", str(results)]
    command = [sys.executable, str(FUZZ / "run.py"), *amount, *outputs]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        pytest.fail(done.stdout, pytrace=False)
    found = json.loads(results.read_text())
    assert {entry["target"] for entry in found} >= {
        "frame",
        "decode_pack",
        "decode_range",
        "decode_rans",
        "decode_context",
        "round_trip",
    }
    assert all(entry["executions"] >= EXECUTIONS for entry in found)


def test_every_target_has_a_corpus() -> None:
    """And it is small enough to run everywhere."""
    files = [path for path in (FUZZ / "corpus").rglob("*") if path.is_file()]
    folders = {path.parent.name for path in files}
    decoders = {f"decode_{name}" for name in ("pack", "lzma", "range", "rans", "context")}
    assert folders >= {"frame", "round_trip"} | decoders
    assert len(files) <= 1200
    assert sum(path.stat().st_size for path in files) <= 300_000
