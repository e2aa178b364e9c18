"""Weights in 1 to 8 bits, as they are sent to a device: safetensors that hold frames.

QPART (Eq. 9 and 10) puts each layer's weights on an even grid between their least and greatest; as
printed its step ignores that range, and its distance has no absolute value.  Here the grid is a
`Codebook`, so that weights are packed, coded and given back by the same core as features.

The file's metadata has, under "packed", the codec of each array in JSON: the grid's two ends, bits,
coder and shape.  Under its name is a compact frame (docs/format.md), as bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pysplitcodec.codebook import Codebook, safetensors_numpy
from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError, FeatureError, ModelError, SplitCodecError

FORMAT = "pysplitcodec-weights-2"

Weights = Mapping[str, NDArray[Any]]


def pack_weights(weights: Weights, bits: Mapping[str, int], *, coder: str = "pack") -> bytes:
    """Write weights as a safetensors file.

    weights: arrays by name.  bits: of the names in it, 1 to 8, whose arrays are float32; the others
    stay as they are, and so do arrays of a single value.  coder: of `coders()`, one that needs no
    model.

    Raises ArgumentError for names and widths that do not fit, FeatureError for arrays of other
    dtypes or that are not finite, MissingDependencyError without safetensors.

    >>> weights = {"fc.weight": np.float32([[0, 1, 2, 3]]), "fc.bias": np.float32([7])}
    >>> {k: v.tolist() for k, v in unpack_weights(pack_weights(weights, {"fc.weight": 1})).items()}
    {'fc.bias': [7.0], 'fc.weight': [[0.0, 0.0, 3.0, 3.0]]}
    """
    if unknown := [name for name in bits if name not in weights]:
        raise ArgumentError(f"bits name {unknown[0]!r}: expected names of weights")
    tensors: dict[str, NDArray[Any]] = {}
    packed: dict[str, dict[str, Any]] = {}
    for name, values in weights.items():
        tensors[name] = np.asarray(values, order="C")
        if name not in bits:
            continue
        if values.dtype != np.float32:
            raise FeatureError(f"weights {name!r} are {values.dtype}: expected float32")
        if not np.isfinite(values).all():
            raise FeatureError(f"weights {name!r} have NaN or infinity: expected finite numbers")
        if values.size == 0 or values.min() == values.max():
            continue
        # the shortest decimals that give these float32
        low, high = (float(str(end)) for end in (values.min(), values.max()))
        grid = {"low": low, "high": high, "bits": bits[name], "coder": coder}
        packed[name] = {**grid, "shape": list(values.shape)}
        frame = _codec(packed[name]).encode(values)
        tensors[name] = np.frombuffer(frame, np.uint8)
    about = {"format": FORMAT, "packed": json.dumps(packed, separators=(",", ":"))}
    written: bytes = safetensors_numpy().save(tensors, about)
    return written


def unpack_weights(data: bytes, *, max_elements: int = 1 << 26) -> dict[str, NDArray[Any]]:
    """Read what `pack_weights` wrote: arrays by name, sorted.

    max_elements: of all packed arrays together.  Raises ModelError for bytes that are none of ours,
    FrameError for packed weights that are damaged, MissingDependencyError without safetensors.
    """
    load = safetensors_numpy().load
    try:
        tensors = load(data)
        about = _metadata(data)
        packed = json.loads(about["packed"]) if about.get("format") == FORMAT else None
    except Exception as error:  # safetensors' own errors share no public base class
        raise ModelError(f"the bytes hold no packed weights: {error}") from None
    if not isinstance(packed, dict):
        raise ModelError(
            f"the bytes hold no packed weights: format is {about.get('format')!r}, expected "
            f"{FORMAT!r}"
        )
    for name, given in packed.items():
        try:
            frame, shape = tensors[name], given["shape"]
            if not all(type(side) is int and side > 0 for side in shape):
                raise ValueError(f"shape is {shape!r:.80}")
            max_elements -= math.prod(shape)
            if max_elements < 0:
                raise ValueError(f"shape {shape!r:.80} is too large")
            codec = _codec(given)
        except (KeyError, TypeError, ValueError, SplitCodecError) as error:
            raise ModelError(f"the packed weights {name!r:.80} make no sense: {error}") from None
        tensors[name] = codec.decode(frame.tobytes())
    return dict(sorted(tensors.items()))


def _codec(given: Mapping[str, Any]) -> Codec:
    """Of an entry of "packed"; it has the same levels on every machine."""
    with np.errstate(over="ignore"):  # infinity is refused
        ends = np.array([given["low"], given["high"]], np.float32)
    book = Codebook.fit(ends, given["bits"], "minmax")
    return Codec(book, given["coder"], shape=tuple(given["shape"]))


def _metadata(data: bytes) -> Mapping[str, Any]:
    """What safetensors keeps beside tensors: its `load` checked the bytes, and drops this."""
    length = int.from_bytes(data[:8], "little")
    about = json.loads(data[8 : 8 + length]).get("__metadata__")
    return about if isinstance(about, dict) else {}
