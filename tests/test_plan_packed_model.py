"""TFLite models with weights in few bits, as bytes that are sent."""

from __future__ import annotations

import contextlib
import importlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pysplitcodec
from pysplitcodec import Codebook
from pysplitcodec.errors import ArgumentError, FrameError, ModelError

NEEDS = 'needs "pysplitcodec[safetensors,tflite]"'
safetensors = pytest.importorskip("safetensors.numpy", reason=NEEDS)
pytest.importorskip("ai_edge_litert", reason=NEEDS)

from pysplitcodec.plan.packed_model import (  # noqa: E402
    pack_tflite,
    tflite_weights,
    unpack_tflite,
)
from pysplitcodec.plan.packed_weights import FORMAT, pack_weights  # noqa: E402
from pysplitcodec.runtime import TFLiteModel  # noqa: E402
from pysplitcodec.splitting import split  # noqa: E402
from pysplitcodec.splitting.tflite_file import AlignedBuffer, read_model, write_model  # noqa: E402

DIGITS = Path(pysplitcodec.__file__).parent / "data" / "digits.tflite"
SAMPLE = np.random.default_rng(0).random((1, 8, 8, 1), dtype=np.float32)


@pytest.fixture(scope="module")
def head() -> bytes:
    return split(DIGITS, "bottleneck").head


def layers(model: bytes) -> list[str]:
    return [weight.name for weight in tflite_weights(model) if len(weight.shape) > 1]


def edited(model: bytes, edit: Any) -> bytes:
    """The model after `edit` of its tree."""
    tree = read_model(model)
    edit(tree)
    tree.buffers = [
        AlignedBuffer(None if one.data is None else np.asarray(one.data, np.uint8))
        for one in tree.buffers
    ]
    return write_model(tree)


def values_of(model: bytes) -> dict[str, np.ndarray]:
    """By name, what the tensors hold, read without the code under test."""
    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    tree = schema.ModelT.InitFromPackedBuf(model)
    return {
        tensor.name.decode(): np.asarray(tree.buffers[tensor.buffer].data, np.uint8).view("<f4")
        for tensor in tree.subgraphs[0].tensors
        if tensor.type == 0 and tree.buffers[tensor.buffer].data is not None
    }


def test_weights_are_listed(head: bytes) -> None:
    found = dict(tflite_weights(head))
    assert found["bottleneck/weights"] == (4, 3, 3, 16) and found["bottleneck/bias"] == (4,)
    assert {name: int(np.prod(shape)) for name, shape in found.items()} == {
        name: values.size for name, values in values_of(head).items()
    }


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_weights_are_on_their_grid_and_all_else_stays(head: bytes, bits: int) -> None:
    names = layers(head)
    found = unpack_tflite(pack_tflite(head, dict.fromkeys(names, bits)))
    assert len(found) == len(head)
    before, after = values_of(head), values_of(found)
    assert list(before) == list(after)
    for name, values in before.items():
        book = Codebook.fit(values, bits, "minmax")
        wanted = book.centroids[book.quantize(values)] if name in names else values
        assert np.array_equal(after[name], wanted)
    plain, coarse = (TFLiteModel(model)(SAMPLE)[0] for model in (head, found))
    if bits == 8:
        assert np.abs(plain - coarse).max() < 0.05 * np.abs(plain).max()
    assert not np.array_equal(plain, coarse)


def test_nothing_packed_is_the_same_file(head: bytes) -> None:
    assert unpack_tflite(pack_tflite(head, {})) == head


def test_few_bits_are_few_bytes() -> None:
    model = DIGITS.read_bytes()
    bits = dict.fromkeys(layers(model), 2)
    packed = pack_tflite(DIGITS, bits)
    weights = sum(np.prod(w.shape) for w in tflite_weights(model) if len(w.shape) > 1)
    assert len(packed) < len(model) - 4 * weights + weights / 4 + 200 * len(bits)
    assert len(pack_tflite(model, bits, coder="range")) < len(packed)


def test_wrong_names_and_widths(head: bytes) -> None:
    with pytest.raises(ArgumentError, match="bits name 'fc': expected float32 weights, of which"):
        pack_tflite(head, {"fc": 4})
    with pytest.raises(ArgumentError, match="bits"):
        pack_tflite(head, {"bottleneck/weights": 9})

    def same_name(tree: Any) -> None:
        for tensor in tree.subgraphs[0].tensors:
            tensor.name = b"w"

    with pytest.raises(ArgumentError, match="'w': 8 weight tensors have this name"):
        pack_tflite(edited(head, same_name), {"w": 4})
    with pytest.raises(ModelError, match="not a TFLite model"):
        pack_tflite(b"no model", {})


def test_tensors_that_share_weights(head: bytes) -> None:
    kernels = ("block1/weights", "block2/depthwise/weights")

    def share(tree: Any) -> None:
        named = {tensor.name.decode(): tensor for tensor in tree.subgraphs[0].tensors}
        named[kernels[1]].buffer = named[kernels[0]].buffer

    model = edited(head, share)
    found = values_of(unpack_tflite(pack_tflite(model, dict.fromkeys(kernels, 2))))
    assert (
        np.array_equal(*(found[name] for name in kernels))
        and len(np.unique(found[kernels[0]])) <= 4
    )
    with pytest.raises(ArgumentError, match=r"are 3: expected 2, for it shares"):
        pack_tflite(model, {kernels[0]: 2, kernels[1]: 3})

    def as_integers(tree: Any) -> None:
        share(tree)
        next(t for t in tree.subgraphs[0].tensors if t.name.decode() == kernels[1]).type = 2

    with pytest.raises(ModelError, match="of type 2"):
        pack_tflite(edited(head, as_integers), {kernels[0]: 2})


def test_parts_that_do_not_fit(head: bytes) -> None:
    packed = pack_tflite(head, {"bottleneck/weights": 4})
    parts = safetensors.load(packed)
    (number,) = set(parts) - {"model"}
    model, right = parts["model"], np.ones((4, 3, 3, 16), np.float32)

    def read(arrays: dict[str, np.ndarray]) -> bytes:
        return unpack_tflite(pack_weights(arrays, {}))

    assert values_of(read({"model": model, number: right}))["bottleneck/weights"].min() == 1
    for arrays, says in (
        ({number: right}, "no packed TFLite model"),
        ({"model": right}, "no packed TFLite model"),
        ({"model": model}, "lacks the weights 'bottleneck/weights'"),
        ({"model": model[:-400], number: right}, "corrupt"),
        ({"model": model, number: right[:, :1]}, "expected float32 in 2304 bytes"),
        ({"model": model, number: right.astype(np.float64)}, "float64 for buffer"),
        ({"model": model, number: right, "0": right}, "one that is empty"),
        ({"model": model, number: right, "99999": right}, "one that is empty"),
        ({"model": model, "0" + number: right}, "expected numbers of buffers"),
        ({"model": model, number: right, "9" * 40: right}, "expected numbers of buffers"),
        ({"model": model, number: right, "weights": right}, "expected numbers of buffers"),
    ):
        with pytest.raises(ModelError, match=says):
            read(arrays)
    with pytest.raises(ModelError):
        unpack_tflite(pack_weights({"w": right}, {}))
    with pytest.raises(ModelError, match="too large"):
        unpack_tflite(packed, max_elements=575)


def test_many_small_frames_cannot_fill_the_memory(head: bytes) -> None:
    """The limit is on all frames together: 2304 floats are in both, and fit one by one."""
    packed = pack_tflite(head, dict.fromkeys(layers(head), 4))
    every = sum(np.prod(w.shape) for w in tflite_weights(head) if len(w.shape) > 1)
    with pytest.raises(ModelError, match="too large"):
        unpack_tflite(packed, max_elements=int(every) - 1)
    assert unpack_tflite(packed, max_elements=int(every))


def test_damage_is_found(head: bytes) -> None:
    packed = pack_tflite(head, {"bottleneck/weights": 4})
    for length in range(0, len(packed), 97):
        with pytest.raises(ModelError):
            unpack_tflite(packed[:length])
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(packed), 150):
        broken = bytearray(packed)
        broken[at] ^= 1 << int(rng.integers(8))
        # what the checks do not see is for the hash over all of it
        with contextlib.suppress(ModelError, FrameError):
            unpack_tflite(bytes(broken))


def test_names_that_repeat() -> None:
    entry = '"1":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}'
    about = json.dumps({"format": FORMAT, "packed": "[]"})
    text = f'{{"__metadata__":{about},{entry % (0, 1)},{entry % (1, 2)}}}'.encode()
    with pytest.raises(ModelError):
        unpack_tflite(struct.pack("<Q", len(text)) + text + b"\0\0")
