"""Benchmarks of the codec beside what people use today, for regression: `make bench`.

bench/figures.py measures the ratios that the documentation quotes.
"""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
import pytest
from figures import numpy_quantize_pack
from stand_in import indices, relu_feature

import pysplitcodec as sc

SHAPE = (64, 56, 56)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("how", ["splitcodec", "numpy"])
def test_quantize_pack(benchmark: Any, bits: int, how: str) -> None:
    benchmark.group = f"quantise and pack, {bits} bits, 64x56x56"
    feature = relu_feature(*SHAPE)
    book = sc.Codebook.fit(feature[:4], bits)
    if how == "numpy":
        benchmark(numpy_quantize_pack, feature, book.thresholds, bits)
    else:
        codec = sc.Codec(book, "pack", shape=SHAPE)
        benchmark(codec.encode, feature)


@pytest.mark.parametrize("packed_len", [2400, 9100, 18400])
@pytest.mark.parametrize("how", ["splitcodec", "lzma.compress"])
def test_lzma(benchmark: Any, packed_len: int, how: str) -> None:
    benchmark.group = f"LZMA of {packed_len} bytes of packed indices"
    _, symbols = indices(4 * packed_len)
    codec = sc.Codec(sc.Codebook([0, 1, 2, 3]), "lzma", shape=symbols.shape)
    if how == "splitcodec":
        benchmark(codec.encode, symbols.astype(np.float32))
    else:
        packed = np.packbits((symbols[:, None] >> np.arange(2)) & 1, bitorder="little").tobytes()
        benchmark(lzma.compress, packed)


def test_python_overhead(benchmark: Any) -> None:
    codec = sc.Codec(sc.Codebook([0, 1]), "pack", shape=(8,))
    benchmark(codec.encode, np.zeros(8, np.float32))
