"""bench/prediction.py: what it predicts is of the planner, and what it measures has been sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pysplitcodec as sc

for package in ("ai_edge_litert", "flatbuffers", "httpx", "starlette", "uvicorn"):
    pytest.importorskip(package, reason='needs "pysplitcodec[serve,tflite]"')

import prediction  # noqa: E402

from pysplitcodec.demo import load_digits  # noqa: E402
from pysplitcodec.runtime import open_model  # noqa: E402


def test_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = load_digits()
    model = tmp_path / "digits.tflite"
    model.write_bytes(digits.model)
    images = list(digits.images[:8])
    rows = prediction.compare(model, images, [1, 3], [2e5], rounds=1, runs=2, seconds=0.01)
    assert [(row.at, row.name, row.bits_per_s) for row in rows] == [
        (1, "block2", 2e5),
        (3, "bottleneck", 2e5),
    ]
    for row in rows:
        head = open_model(sc.split(digits.model, row.at).head)
        features = np.concatenate([head(image)[0] for image in images])
        codec = sc.Codec(sc.Codebook.fit(features, 2), "lzma", shape=features.shape[1:])
        frames = codec.encode_batch(features)
        assert row.payload_bytes == pytest.approx(np.mean([len(frame) for frame in frames]))
        assert row.ratio == row.measured_ms / row.predicted_ms
        # The frame, 10 ms each way, and HTTP on top.
        assert row.link_ms > 8e3 * row.payload_bytes / row.bits_per_s + 20
        assert row.measured_ms > 8e3 * min(map(len, frames)) / row.bits_per_s + 20
    first, other = rows
    sent_ms = 8e3 * (first.payload_bytes - other.payload_bytes) / 2e5
    # One link for all split points: the planner's alone, at a rate, but for what is measured twice.
    assert first.link_ms - other.link_ms == pytest.approx(sent_ms)
    prediction.print_table(rows)
    assert capsys.readouterr().out.count("\n") == 4
