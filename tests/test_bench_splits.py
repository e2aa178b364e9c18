"""bench/splits.py: what it finds of models that run, that crash, and that it knows already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import splits
from pictures import picture

from pysplitcodec.runtime import TensorInfo

pytest.importorskip("ai_edge_litert", reason='needs "pysplitcodec[tflite]"')


def run(data_dir: Path, folder: Path, *arguments: str) -> list[dict]:
    command = [sys.executable, splits.__file__, "--out", str(folder), *arguments]
    environment = {**os.environ, "SPLITCODEC_DATA": str(data_dir)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return json.loads((folder / "splits.json").read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_rows(data_dir, tmp_path):
    (row,) = run(data_dir, tmp_path, "--only", "resnet8_cifar10_int8", "--tensors", "2")
    assert (row["format"], row["model"]) == ("tflite", "mlperf-tiny-tflite/resnet8_cifar10_int8")
    assert (row["split_points"], row["equal"], row["unequal"], row["largest"]) == (15, 15, [], 0)
    assert row["distinct_outputs"] == 3
    assert 0 < row["split_peak_mb"] < row["run_peak_mb"] < 200
    assert row["enumerate_s"] > 0

    first, other = run(data_dir, tmp_path, "--resume", "--only", "keyword_scrambled")
    assert first == row
    assert other["split_points"] == 14
    assert "equal" not in other
    assert other["error"].startswith("the process was ended by SIG")
    table = (tmp_path / "splits.md").read_text()
    assert "resnet8_cifar10_int8 | 1 to 2 | 15 | 15 | 0 |" in table
    assert "keyword_scrambled_8bit | 1 | 14 | cannot be run |" in table


def test_equality_that_shows_nothing_is_told():
    row = dict.fromkeys(("enumerate_s", "split_s", "split_peak_mb", "largest"), 0.0)
    row.update(format="onnx", model="alike", tensors=1, split_points=3, equal=3)
    assert "| 3 | 3 | 0 |" in splits.as_markdown([{**row, "distinct_outputs": 2}])
    table = splits.as_markdown([{**row, "distinct_outputs": 1}])
    assert "| 3 | shows nothing: one output for all inputs |" in table


@pytest.mark.parametrize(
    ("shape", "dtype", "least", "most"),
    [
        ((1, 96, 96, 3), "float32", 0, 255),
        ((1, 3, 40, 60), "int8", -128, 127),
        ((1, 28, 28), "uint8", 0, 255),
    ],
)
def test_pictures(data_dir, shape, dtype, least, most):
    seen = picture(data_dir, TensorInfo("in", shape, dtype, None, None))
    assert (seen.shape, seen.dtype) == (shape, dtype)
    assert least <= seen.min() < least + 40
    assert most - 40 < seen.max() <= most
    assert len(np.unique(seen)) > 50


@pytest.mark.parametrize("shape", [(1, 640), (1, 1, 40), (1, 96, 96, 1), (1, 3), ()])
def test_inputs_that_are_no_pictures(data_dir, shape):
    assert picture(data_dir, TensorInfo("in", shape, "int8", None, None)) is None
