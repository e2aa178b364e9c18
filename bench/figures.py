"""The speed and size figures that docs/performance.md quotes, as ratios measured in one run.

Each pair is timed in turn, A B A B ..., and the median of the per-round ratios is printed, so that
a machine that drifts does not favour either.  `python bench/figures.py [--json]`.
"""

from __future__ import annotations

import argparse
import json
import lzma
import platform
import sys
import timeit
from typing import Any, Callable

import numpy as np
import numpy.typing as npt
from stand_in import feature_sets, indices, relu_feature

import pysplitcodec as sc
from pysplitcodec.native import core

SHAPE = (64, 56, 56)


def numpy_quantize_pack(
    feature: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32], bits: int
) -> npt.NDArray[np.uint8]:
    """What people write: searchsorted, then packbits on the bits of each index."""
    found = np.searchsorted(thresholds, feature.reshape(-1)).astype(np.uint8)
    if bits == 8:
        return found
    planes = np.unpackbits(found[:, None], axis=1, bitorder="little", count=bits)
    return np.packbits(planes, bitorder="little")


def paired(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = 15
) -> tuple[float, float, float]:
    """Median microseconds of both, and the median of theirs / ours."""
    mine = timeit.Timer(ours)
    other = timeit.Timer(theirs)
    mine_count = max(1, int(0.02 / max(min(mine.repeat(3, 1)), 1e-7)))
    other_count = max(1, int(0.02 / max(min(other.repeat(3, 1)), 1e-7)))
    times = np.array(
        [
            (mine.timeit(mine_count) / mine_count, other.timeit(other_count) / other_count)
            for _ in range(rounds)
        ]
    )
    medians = np.median(times, axis=0) * 1e6
    return float(medians[0]), float(medians[1]), float(np.median(times[:, 1] / times[:, 0]))


def quantize_rows() -> list[dict[str, Any]]:
    rows = []
    feature = relu_feature(*SHAPE)
    for bits in (1, 2, 3, 4, 8):
        book = sc.Codebook.fit(feature[:4], bits)
        codec = sc.Codec(book, "pack", shape=SHAPE)
        expected = numpy_quantize_pack(feature, book.thresholds, bits).tobytes()
        assert codec.encode(feature)[6:-4] == expected, "the two must agree"
        thresholds = book.thresholds
        ours, theirs, ratio = paired(
            lambda codec=codec: codec.encode(feature),
            lambda t=thresholds, bits=bits: numpy_quantize_pack(feature, t, bits),
        )
        rows.append(
            {
                "op": "quantize_pack",
                "bits": bits,
                "elements": feature.size,
                "ours_us": ours,
                "numpy_us": theirs,
                "times_numpy": ratio,
                "ns_per_element": ours * 1e3 / feature.size,
            }
        )
    return rows


def lzma_rows() -> list[dict[str, Any]]:
    rows = []
    for packed_len in (2400, 9100, 18400):
        source, symbols = indices(4 * packed_len)
        codec = sc.Codec(sc.Codebook([0, 1, 2, 3]), "lzma", shape=symbols.shape)
        feature = symbols.astype(np.float32)
        packed = np.empty(packed_len, np.uint8)
        core.pack(symbols, 2, packed)
        data = packed.tobytes()
        ours, theirs, ratio = paired(
            lambda c=codec, f=feature: c.encode(f), lambda d=data: lzma.compress(d)
        )
        frame = codec.encode(feature)
        rows.append(
            {
                "op": "lzma",
                "source": source,
                "packed_bytes": packed_len,
                "frame_bytes": len(frame),
                "xz_bytes": len(lzma.compress(data)),
                "ours_us": ours,
                "python_lzma_us": theirs,
                "times_python_lzma": ratio,
            }
        )
    return rows


# The best that liblzma was found to do on these payloads, whatever the time.
_TUNED = [
    {
        "id": lzma.FILTER_LZMA1,
        "dict_size": 1 << 16,
        "lc": 0,
        "lp": 0,
        "pb": 0,
        "mode": lzma.MODE_NORMAL,
        "nice_len": 273,
        "mf": lzma.MF_BT4,
    }
]


def size_rows(samples: int = 200) -> list[dict[str, Any]]:
    """Mean payload bytes on real feature sets, one payload per sample."""
    rows = []
    for name, bits, test in feature_sets():
        codec = sc.Codec(sc.Codebook(range(1 << bits)), "lzma", shape=test.shape[1:], dtype="uint8")
        packed = np.empty(core.packed_size(test[0].size, bits), np.uint8)
        sizes = []
        for sample in test[:samples]:
            core.pack(np.ascontiguousarray(sample), bits, packed)
            data = packed.tobytes()
            # the raw stream holds an end marker of about 5 bytes, which MicroLZMA saves
            raw = len(lzma.compress(data, lzma.FORMAT_RAW, filters=_TUNED))
            sizes.append((len(codec.encode(sample)) - 10, raw, len(lzma.compress(data))))
        ours, raw_mean, xz = np.mean(sizes, axis=0)
        rows.append(
            {
                "op": "lzma size",
                "source": name,
                "packed_bytes": packed.size,
                "payload_bytes": float(ours),
                "liblzma_raw_bytes": float(raw_mean),
                "xz_bytes": float(xz),
                "of_liblzma_raw": float(ours / raw_mean),
                "of_xz": float(ours / xz),
            }
        )
    return rows


def overhead_row() -> dict[str, Any]:
    """A frame of eight elements: what is left is the call itself, from Python and back."""
    codec = sc.Codec(sc.Codebook([0, 1]), "pack", shape=(8,))
    feature = np.zeros(8, np.float32)
    encode_us = min(timeit.repeat(lambda: codec.encode(feature), number=20000, repeat=7)) / 0.02
    empty_us = min(timeit.repeat(lambda: None, number=20000, repeat=7)) / 0.02
    return {"op": "encode of 8 elements", "whole_call_us": encode_us - empty_us}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    rows = [*quantize_rows(), *lzma_rows(), *size_rows(), overhead_row()]
    if as_json:
        machine = {"machine": platform.machine(), "kernels": core.kernels_name()}
        json.dump({**machine, "python": sys.version.split()[0], "rows": rows}, sys.stdout, indent=1)
        return
    print(f"kernels: {core.kernels_name()}, Python {sys.version.split()[0]}")
    for row in rows:
        shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print("  ".join(shown))


if __name__ == "__main__":
    main()
