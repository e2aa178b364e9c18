"""Codecs as C headers, for firmware that holds its codec as constants in flash."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np

from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError
from pysplitcodec.model import CoderModel
from pysplitcodec.native import CODERS, DTYPES, numpy_dtype

__all__ = ["c_definitions", "c_header"]

_MAX_RANK = 8

# What a coder's encoder keeps in its work in builds for firmware (SPC_HOSTED=0), the bytes to align
# it included: plain bytes, and pointers.  tests/test_c_header.py asks the core.
_STATE = {"lzma": (5479, 6), "rans": (1431, 2), "context": (159, 28)}

_HEADER = """\
/*
 * The codec {codec_id:08x} for firmware, as constants, made by `splitcodec export`.  Include it in
 * one file, and compile the core with what it needs at least:
 *
{options}
 */
#ifndef SPLITCODEC_PLAN_H
#define SPLITCODEC_PLAN_H

#include "splitcodec.h"

#define SPLITCODEC_PLAN_CODER {coder}
#define SPLITCODEC_PLAN_ELEMENTS {elements}
#define SPLITCODEC_PLAN_FEATURE_BYTES {feature_bytes}
#define SPLITCODEC_PLAN_FRAME_BOUND {frame_bound} /* of compact frames */
#define SPLITCODEC_PLAN_WORK_BYTES {work_bytes} /* of spc_encode; 1 if none */

static const float splitcodec_plan_centroids[{centroid_count}] = {{
{centroids}
}};
static const int32_t splitcodec_plan_thresholds[{threshold_count}] = {{
{thresholds}
}};
{model_bytes}
static const spc_codec splitcodec_plan = {{
    {{{bits}, {groups}, splitcodec_plan_centroids, splitcodec_plan_thresholds}},
    {dtype},
    {{{rank}, {{{dims}}}}},
    {axis},
    {model},
    {slice_first},
    {slice_whole},
    {elements},
    0x{codec_id:08x}u,
}};

#endif
"""


def c_header(codec: Codec) -> str:
    """Return the C header `splitcodec_plan.h` of a codec: C99 or later, or C++.

    It defines the constant `splitcodec_plan`, an `spc_codec`, and macros that size the buffers of
    `spc_encode`.  The same codec gives the same text on every machine.  Raises ArgumentError if it
    is no `Codec`.
    """
    if not isinstance(codec, Codec):
        raise ArgumentError(f"codec is a {type(codec).__name__}: expected a Codec")
    books = _books(codec)
    centroids = np.concatenate([book.centroids for book in books])
    # threshold i of group g is at i * groups + g
    thresholds = np.stack([book._native.thresholds() for book in books], axis=1).ravel()
    dims = codec.shape + (0,) * (_MAX_RANK - len(codec.shape))
    elements = math.prod(codec.shape)
    slice_first, slice_whole = codec.slice_of or (0, 0)
    indent = " *     "
    return _HEADER.format(
        codec_id=codec.id,
        options=textwrap.fill(
            " ".join(f"-D{definition}" for definition in c_definitions(codec)),
            width=100,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        ),
        coder=f"SPC_CODER_{codec.coder.upper()}",
        elements=elements,
        feature_bytes=elements * numpy_dtype(codec.dtype).itemsize,
        frame_bound=codec.bound(),
        work_bytes=_work_macro(codec),
        centroid_count=centroids.size,
        centroids=_lines(map(_float, centroids), 6),
        threshold_count=thresholds.size,
        thresholds=_lines(map(str, thresholds.tolist()), 8),
        model_bytes=_model_bytes(codec.model),
        bits=codec.bits,
        groups=len(books),
        dtype=f"SPC_{codec.dtype.upper()}",
        rank=len(codec.shape),
        dims=", ".join(map(str, dims)),
        axis="SPC_NO_AXIS" if codec.channel_axis is None else codec.channel_axis,
        model=_model(codec.model),
        slice_first=slice_first,
        slice_whole=slice_whole,
    )


def c_definitions(codec: Codec) -> list[str]:
    """Return what to define when the core is compiled to encode with this codec alone.

    >>> c_definitions(Codec(Codebook([0, 1]), "range", shape=(4, 4), dtype="int8"))[1:4]
    ['SPC_CODERS=0x5', 'SPC_DTYPES=0x8', 'SPC_BITS=0x2']
    """
    needed = {"pack", codec.coder}
    if codec.coder == "context":  # which takes the place of what it would not make smaller
        needed.add("range")
    return [
        "SPC_HOSTED=0",
        f"SPC_CODERS={sum(1 << CODERS[name] for name in needed):#x}",
        f"SPC_DTYPES={1 << DTYPES[codec.dtype]:#x}",
        f"SPC_BITS={1 << codec.bits:#x}",
        f"SPC_GROUPS={int(len(_books(codec)) > 1)}",
        "SPC_SELF_DESCRIBING=0",
    ]


def _books(codec: Codec) -> Sequence[Codebook]:
    return (codec.codebook,) if isinstance(codec.codebook, Codebook) else codec.codebook


# ------------------------------------------------------------------ C


def _float(value: np.float32) -> str:
    """Nine digits tell every float from its neighbours; C++ before 17 has no hexadecimal ones."""
    text = f"{value:.9g}"
    return text + ("f" if "." in text or "e" in text else ".0f")


def _lines(words: Iterable[str], each: int) -> str:
    every = list(words)
    rows = (every[at : at + each] for at in range(0, len(every), each))
    return "\n".join(f"    {', '.join(row)}," for row in rows)


def _model_bytes(model: CoderModel | None) -> str:
    if model is None:
        return ""
    body = _lines((f"0x{byte:02x}" for byte in model.to_bytes()), 16)
    return f"static const uint8_t splitcodec_plan_model[{len(model)}] = {{\n{body}\n}};"


def _model(model: CoderModel | None) -> str:
    if model is None:
        return "{NULL, 0, SPC_CODER_PACK, 0, 0}"
    coder = f"SPC_CODER_{model.coder.upper()}"
    return f"{{splitcodec_plan_model, {len(model)}, {coder}, {model.bits}, {model.channels}}}"


# ------------------------------------------------------------------ work


def _work_macro(codec: Codec) -> str:
    wide, narrow = (max(_work_bytes(codec, pointer), 1) for pointer in (8, 4))
    return str(narrow) if wide == narrow else f"(sizeof(void *) > 4 ? {wide} : {narrow})"


def _work_bytes(codec: Codec, pointer: int) -> int:
    """spc_encode_work_size in a build for firmware, whose pointers have so many bytes.

    The core of this machine cannot tell: it has room for vectors, and pointers of its own.
    """
    n = math.prod(codec.shape)
    if codec.coder == "pack" or n == 0:
        return 0
    # which has neither
    of_range: int = codec._native.encode_work_size(CODERS["range"])
    if codec.coder == "range":
        return of_range
    plain, pointers = _STATE[codec.coder]
    packed = (n * codec.bits + 7) // 8
    own = n + plain + pointers * pointer
    if codec.coder == "lzma":
        return own + packed
    axis = codec.channel_axis
    if axis is not None and codec.shape[axis] > 1 and math.prod(codec.shape[:axis]) > 1:
        own += n  # the indices channel by channel
    if codec.coder == "rans":
        return own
    assert codec.model is not None
    own += _context_bytes(codec.model, pointer)
    return max(own, of_range) + packed  # one after the other; and the payload of `range`


def _context_bytes(model: CoderModel, pointer: int) -> int:
    """What follows the state of coder "context": as csrc/coder_context.c lays it out."""
    bits, body = model.bits, model.to_bytes()[8:]
    nodes, near = (1 << min(bits, 4)) - 1, min(bits, 2)
    taps_most = units_most = at = 0
    for _ in range(model.channels):
        taps, units = body[at], body[at + 1]
        at += 4 + taps * (2 + units) + 2 * units * (1 + nodes) + (nodes << 2 * near)
        taps_most, units_most = max(taps, taps_most), max(units, units_most)
    pairs = units_most * (16 // (bits if bits < 3 else 4))
    logits = 32 * (1 if bits == 1 else nodes + 1)
    biases = (nodes + 1 << 3 * near) + (1 << bits if bits > 4 else 0)
    return taps_most * (2 * pointer + 4) + 4 * pairs + 2 * logits + 2 * biases
