"""A tail so small that a server of it is what is measured, with frames of 6 kB.

    python bench/toy_tail.py FOLDER

writes tail.onnx and codec.json: a mean over each of 96 channels of 16x16, and a layer from them to
10 outputs.  The codec packs 2 bits an element: 6,144 bytes of payload.  Centroids, weights and all
sums are multiples of powers of two that float32 holds exactly, so that outputs are the same bits in
whatever order a server adds them up, and in batches of whatever size.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pysplitcodec import Codebook, Codec

CHANNELS, SIZE, CLASSES = 96, 16, 10


def toy_codec() -> Codec:
    return Codec(Codebook([-1, 0, 0.5, 2]), "pack", shape=(CHANNELS, SIZE, SIZE))


def toy_tail() -> bytes:
    """The ONNX file: "feature", float32 [n, 96, 16, 16], to "scores", float32 [n, 10]."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-8, 9, (CHANNELS, CLASSES)).astype(np.float32) / 8
    nodes = [
        helper.make_node("GlobalAveragePool", ["feature"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [_described("feature", "n", CHANNELS, SIZE, SIZE)],
        [_described("scores", "n", CLASSES)],
        [numpy_helper.from_array(weights, "weights")],
    )
    # an older form of the file, which every onnxruntime in use reads
    opset = [helper.make_opsetid("", 13)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model


def write(folder: Path) -> tuple[Path, Path]:
    """Write the tail and its codec; the paths of both."""
    tail, codec = folder / "tail.onnx", folder / "codec.json"
    tail.write_bytes(toy_tail())
    toy_codec().save(codec)
    return tail, codec


def _described(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])), sep="\n")
