"""The main job, whole: head, codec, a server in another process, tail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pysplitcodec as sc

pytest.importorskip("starlette", reason="the demo needs the extra 'serve'")
pytest.importorskip("PIL", reason="the demo needs the extra 'cli'")

from pysplitcodec import demo
from pysplitcodec.runtime import TFLiteModel
from pysplitcodec.splitting import split


def test_embedded_data() -> None:
    digits = demo.load_digits()
    assert len(digits.model) <= 100_000
    assert digits.images.shape == (540, 1, 8, 8, 1) and digits.images.dtype == np.float32
    assert digits.pixels.shape == (540, 8, 8) and digits.pixels.max() == 255
    assert np.bincount(digits.labels).min() > 40
    assert len(digits.head) + len(digits.tail) < len(digits.model) + 2000
    test = {image.tobytes() for image in digits.images}
    assert not any(image.tobytes() in test for image in digits.calibration)


def test_shipped_halves_are_the_split_model() -> None:
    pytest.importorskip("ai_edge_litert", reason="splitting needs LiteRT: Python 3.10 or newer")
    digits = demo.load_digits()
    assert (digits.head, digits.tail) == tuple(split(digits.model, digits.at))


def test_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("splitcodec"), "demo", "--out", tmp_path, "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[1],  # as `make demo` does: the sources here must not be loaded
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result == json.loads((tmp_path / "demo.json").read_text())
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    rows = {(row["bits"], row["coder"]): row for row in result["rows"]}
    present = [name for name, has in sc.coders().items() if has]
    assert set(rows) == {(bits, coder) for bits in (1, 2, 3, 4) for coder in present}
    assert _accuracies_without_the_link() == {
        bits: rows[bits, "pack"]["accuracy"] for bits in demo.BITS
    }
    for row in rows.values():
        assert row["accuracy_whole"] >= 0.98
        assert row["accuracy"] == rows[row["bits"], "pack"]["accuracy"]
        assert row["payload_bytes_mean"] <= rows[row["bits"], "pack"]["payload_bytes_mean"]
        assert row["frame_bytes_mean"] == pytest.approx(row["payload_bytes_mean"] + 10)
        assert 0 < row["roundtrip_ms_p50"] <= row["roundtrip_ms_p95"]
        assert row["encode_us"] > 0 and row["decode_us"] > 0
    assert rows[2, "pack"]["accuracy"] >= 0.98


def _accuracies_without_the_link() -> dict[int, float]:
    """The same by hand: what crossed the link must have been the same."""
    digits = demo.load_digits()
    head, tail = TFLiteModel(digits.head), TFLiteModel(digits.tail)
    seen = np.concatenate([head(image)[0] for image in digits.calibration])
    found = {}
    for bits in demo.BITS:
        book = sc.Codebook.fit(seen, bits)
        answers = [
            tail(book.dequantize(book.quantize(head(image)[0])))[0].argmax()
            for image in digits.images
        ]
        found[bits] = round(float(np.mean(answers == digits.labels)), 4)
    return found


def test_server_that_cannot_start_says_why() -> None:
    broken = b"\0\0\0\0TFL3" + bytes(64)
    with pytest.raises(sc.errors.ServerError, match=r"ModelError"), demo.tail_server(broken, []):
        raise AssertionError("the server must not start")
