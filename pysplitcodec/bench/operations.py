"""One feature to quantise, and the operations of the core on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import pysplitcodec as sc
from pysplitcodec.native import CODERS, DTYPES, core, numpy_dtype

__all__ = ["OPERATIONS", "Array", "Job", "Operation", "generate", "ours"]

Array = npt.NDArray[Any]

# By the buffer whose bytes each has to pass over.
OPERATIONS = {
    "quantize": "values",
    "pack": "indices",
    "quantize_pack": "values",
    "unpack": "indices",
    "lut": "values",
    "unpack_lut": "values",
    "encode": "values",
    "decode": "values",
}

_COMPACT = 0
_STEPS = 256


class Operation(NamedTuple):
    """Something to time: `output` takes what `call` returned and gives what it made.

    That is indices, packed bytes (of encode: the payload) or values, whichever the operation makes.
    """

    call: Callable[[], Any]
    output: Callable[[Any], Array]

    def run(self) -> Array:
        """Call once and return what was made, as one dimension."""
        return self.output(self.call()).reshape(-1)


@dataclass(frozen=True)
class Job:
    """A feature and the codebook to quantise it with.

    values: plain array of any shape, of a dtype that a Codec takes.
    """

    values: Array
    codebook: sc.Codebook

    @property
    def dtype(self) -> str:
        """Name of the dtype of `values`."""
        return str(self.values.dtype.name)

    def first(self, count: int) -> Job:
        """The same with the first `count` values alone."""
        return Job(self.values.reshape(-1)[:count], self.codebook)

    def indices(self) -> Array:
        """Indices of the values: uint8, of the same shape."""
        return self.codebook.quantize(self.values)

    def packed(self) -> Array:
        """The indices, packed: uint8, one dimension."""
        packed = np.empty(core.packed_size(self.values.size, self.codebook.bits), np.uint8)
        core.pack(self.indices(), self.codebook.bits, packed)
        return packed


def generate(shape: tuple[int, ...], dtype: str, bits: int) -> Job:
    """Return a feature of which half is zeros and half is spread evenly, and a codebook for it.

    Values and centroids spread over 256 steps, from 0 to 8 for floats, over all values for integer
    dtypes, whose least stands for zero.  Floats lie in the first quarter of a step and thresholds
    in its middle, so that no value hits one.  The same arguments give the same values.
    """
    random = np.random.default_rng(1)
    size = math.prod(shape)
    steps = random.integers(0, _STEPS, size, dtype=np.uint8)
    steps[random.integers(0, 2, size, dtype=np.uint8) == 0] = 0
    width = _STEPS >> bits
    levels = (np.arange(1 << bits) + 0.5) * width - 0.5
    if dtype in ("int8", "uint8"):
        least = np.iinfo(dtype).min
        values: Array = (steps ^ np.uint8(least & 0xFF)).view(dtype)
        return Job(values.reshape(shape), sc.Codebook(levels + least))
    floats = steps.astype(np.float32)
    floats += random.random(size, dtype=np.float32) * (0.25 * (steps > 0)).astype(np.float32)
    floats *= 8 / _STEPS
    values = floats.astype(numpy_dtype(dtype), copy=False)
    return Job(values.reshape(shape), sc.Codebook(levels * 8 / _STEPS))


def ours(job: Job) -> dict[str, Operation]:
    """The core's operations, straight to the binding and into buffers that are there already."""
    values, bits, number = job.values, job.codebook.bits, DTYPES[job.dtype]
    book = job.codebook._native
    codec = core.Codec(book, -1, number, values.shape)
    indices, packed = job.indices(), job.packed()
    frame = codec.encode(CODERS["pack"], _COMPACT, values)
    assert frame is not None
    info = core.frame_parse(frame)
    payload = slice(info["payload_offset"], info["payload_offset"] + info["payload_len"])
    new_indices, new_packed = np.empty_like(indices), np.empty_like(packed)
    new_values = np.empty_like(values)
    calls: dict[str, Callable[[], Any]] = {
        "quantize": partial(book.quantize, number, values, new_indices),
        "pack": partial(core.pack, indices, bits, new_packed),
        "quantize_pack": partial(book.quantize_pack, number, values, new_packed),
        "unpack": partial(core.unpack, packed, bits, new_indices),
        "lut": partial(book.dequantize, number, indices, new_values),
        "unpack_lut": partial(book.unpack_dequantize, number, packed, new_values),
        "encode": partial(codec.encode, CODERS["pack"], _COMPACT, values),
        "decode": partial(codec.decode, frame, new_values),
    }
    outputs: dict[str, Callable[[Any], Array]] = {
        **dict.fromkeys(("quantize", "unpack"), lambda _: new_indices),
        **dict.fromkeys(("pack", "quantize_pack"), lambda _: new_packed),
        **dict.fromkeys(("lut", "unpack_lut", "decode"), lambda _: new_values),
        "encode": lambda frame: np.frombuffer(frame[payload], np.uint8),
    }
    return {name: Operation(calls[name], outputs[name]) for name in OPERATIONS}
