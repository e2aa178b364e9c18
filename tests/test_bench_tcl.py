"""bench/tcl_claims.py, on trainings that never were."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_examples import runs, write

SCRIPT = Path(__file__).parents[1] / "bench" / "tcl_claims.py"


def test_claims(tmp_path: Path) -> None:
    found = list(runs(("kmeans", "qat", "tcl"), bits=(1, 2)))
    write(tmp_path, found)
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=True
    )
    table = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    cells = {
        (row[0], row[1].partition(" (")[0]): row[2:]
        for row in ([cell.strip() for cell in line.strip("|").split("|")] for line in table[1:])
    }
    assert set(cells) == {(bits, name) for bits in "12" for name in ("kmeans", "qat", "tcl")}

    def mean(method: str, *keys: str) -> float:
        values = []
        for one in found:
            if (one["method"], one["bits"]) == (method, 2):
                value = one
                for key in keys:
                    value = value[key]
                values.append(value)
        return sum(values) / len(values)

    accuracy, spread, gain, lost, lzma, context, _ = cells["2", "qat"]
    top = mean("qat", "retrained", "top1")
    assert float(accuracy) == pytest.approx(100 * top, abs=0.006)
    assert 0 < float(spread) < 5
    assert float(gain) == pytest.approx(
        100 * (top - mean("kmeans", "retrained", "top1")), abs=0.006
    )
    assert float(lost) == pytest.approx(100 * (mean("kmeans", "float", "top1") - top), abs=0.006)
    assert float(lzma) == pytest.approx(mean("qat", "bytes", "lzma"), abs=0.06)
    assert float(context) == pytest.approx(mean("qat", "bytes", "context"), abs=0.06)
    assert cells["2", "kmeans"][2] == "+0.00"
    rows = json.dumps(found)
    assert "on-device" in rows
    assert "on-device" not in done.stdout
