"""Weights in few bits, as bytes that are sent."""

from __future__ import annotations

import doctest
import json
import struct
import sys
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import (
    ArgumentError,
    FeatureError,
    FrameError,
    MissingDependencyError,
    ModelError,
)
from pysplitcodec.plan import packed_weights
from pysplitcodec.plan.packed_weights import pack_weights, unpack_weights

pytest.importorskip("safetensors", reason="packed weights need the extra 'safetensors'")


def layers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(0, 0.1, (16, 8, 3, 3)).astype(np.float32),
        "conv.bias": rng.normal(0, 0.1, 16).astype(np.float32),
        "fc.weight": rng.normal(0, 2, (10, 300)).astype(np.float32),
        "one": np.array(3.5, np.float32),
        "count": np.array([7], np.int64),
        "same": np.full((4, 4), -1.5, np.float32),
        "none": np.zeros((0, 7), np.float32),
    }


def test_examples() -> None:
    assert doctest.testmod(packed_weights).failed == 0


@pytest.mark.parametrize("bits", range(1, 9))
def test_weights_are_the_nearest_of_an_even_grid(bits: int) -> None:
    weights = layers()
    found = unpack_weights(
        pack_weights(weights, {name: bits for name in weights if name != "count"})
    )
    assert list(found) == sorted(weights)
    for name, values in weights.items():
        assert found[name].dtype == values.dtype and found[name].shape == values.shape
        if values.size < 2 or name == "same":
            assert np.array_equal(found[name], values)
            continue
        grid = np.linspace(float(values.min()), float(values.max()), 1 << bits)
        step = grid[1] - grid[0]
        assert np.abs(found[name] - values).max() <= step / 2 * (1 + 1e-4)
        places = (found[name] - grid[0]) / step
        assert np.abs(places - places.round()).max() < 1e-3
        assert len(np.unique(found[name])) <= 1 << bits


def test_other_weights_are_untouched() -> None:
    weights = layers()
    found = unpack_weights(pack_weights(weights, {"fc.weight": 3}))
    for name, values in weights.items():
        assert np.array_equal(found[name], values) == (name != "fc.weight")


def test_few_bits_are_few_bytes() -> None:
    weights = {"a": layers()["fc.weight"]}
    sizes = {bits: len(pack_weights(weights, {"a": bits})) for bits in (1, 2, 4)}
    assert sizes[2] - sizes[1] == pytest.approx(3000 / 8, abs=40)
    assert sizes[4] < 0.15 * weights["a"].nbytes
    assert len(pack_weights(weights, {"a": 4}, coder="range")) < sizes[4]  # not evenly used
    small = {"a": weights["a"][:2]}  # what is not the weights is small too, even at 8 bits
    assert len(pack_weights(small, {"a": 8})) < 600 + 300


@pytest.mark.parametrize(
    ("weights", "bits", "error", "says"),
    [
        ({"a": np.ones(3, np.float32)}, {"b": 1}, ArgumentError, "bits name 'b'"),
        ({"a": np.arange(3, dtype=np.float32)}, {"a": 0}, ArgumentError, "bits"),
        ({"a": np.arange(3, dtype=np.float32)}, {"a": 9}, ArgumentError, "bits"),
        ({"a": np.ones(3)}, {"a": 1}, FeatureError, "'a' are float64: expected float32"),
        ({"a": np.float32([1, np.nan])}, {"a": 1}, FeatureError, "'a' have NaN"),
    ],
)
def test_wrong_weights(weights: Any, bits: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        pack_weights(weights, bits)


def _file(header: Any, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\xff" * 64,
        _file(b"[]"),
        _file({}),
        _file({"__metadata__": {"format": "pt"}}),
        _file({"__metadata__": {"format": packed_weights.FORMAT}}),
        _file({"__metadata__": {"format": packed_weights.FORMAT, "packed": "["}}),
        _file({"__metadata__": {"format": packed_weights.FORMAT, "packed": '["a"]'}}),
        _file({"__metadata__": {"format": packed_weights.FORMAT, "packed": '{"a": {}}'}}),
    ],
)
def test_bytes_that_are_none_of_ours(data: bytes) -> None:
    with pytest.raises(ModelError):
        unpack_weights(data)


def test_damage_is_found() -> None:
    data = pack_weights({"a": layers()["fc.weight"]}, {"a": 2})
    start = 8 + int.from_bytes(data[:8], "little")
    for at in range(start, len(data), 29):
        broken = bytearray(data)
        broken[at] ^= 0x40
        with pytest.raises(FrameError):
            unpack_weights(bytes(broken))
    for length in range(0, len(data), 41):
        with pytest.raises(ModelError):
            unpack_weights(data[:length])
    with pytest.raises(ModelError, match="too large"):
        unpack_weights(data, max_elements=2_999)


@pytest.mark.parametrize(
    "changed",
    [
        {"bits": 0},
        {"bits": 9},
        {"bits": "2"},
        {"bits": None},
        {"bits": 3},
        {"low": "x"},
        {"low": float("nan")},
        {"low": 1e9},
        {"high": float("inf")},
        {"high": 1e300},
        {"coder": "zip"},
        {"coder": "context"},
        {"coder": 7},
        {"shape": []},
        {"shape": [3000]},
        {"shape": [-10, -300]},
        {"shape": [10, 300, 1 << 70]},
        {"shape": [10.0, 300]},
        {"shape": "ab"},
        {"shape": 3000},
    ],
)
def test_codecs_that_make_no_sense(changed: dict[str, Any]) -> None:
    data = pack_weights({"a": layers()["fc.weight"]}, {"a": 2})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    packed = json.loads(header["__metadata__"]["packed"])
    packed["a"].update(changed)
    header["__metadata__"]["packed"] = json.dumps(packed)
    with pytest.raises((ModelError, FrameError)):
        unpack_weights(_file(header, data[8 + length :]))


def test_without_safetensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for call in (lambda: pack_weights({}, {}), lambda: unpack_weights(b"")):
        with pytest.raises(MissingDependencyError, match=r"pysplitcodec\[safetensors\]"):
            call()
