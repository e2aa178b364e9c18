"""Features to benchmark on: real ones where SPLITCODEC_DATA has them, else generated."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["feature_sets", "indices", "relu_feature"]

_DATA = Path(os.environ.get("SPLITCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))
_SETS = _DATA / "features"
_REAL = _SETS / "imagenet128_split1_ptq_b2.npz"


def relu_feature(*shape: int) -> npt.NDArray[np.float32]:
    """Half zeros, half positive and decaying, as after a ReLU; seeded."""
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return np.maximum(values, 0)


def indices(count: int) -> tuple[str, npt.NDArray[np.uint8]]:
    """`count` 2-bit indices in order, and where they come from."""
    if _REAL.is_file():
        with np.load(_REAL) as arrays:
            return _REAL.stem, arrays["test"].reshape(-1)[:count].astype(np.uint8)
    walk = np.cumsum(np.random.default_rng(2).normal(scale=0.4, size=count))
    return "generated random walk", (np.rint(walk).astype(np.int64) & 3).astype(np.uint8)


def feature_sets() -> Iterator[tuple[str, int, npt.NDArray[np.uint8]]]:
    """Name, bits and test indices [n, C, H, W] of every quantised feature set that is there."""
    for path in sorted(_SETS.glob("*_b[1-8].npz")):
        with np.load(path) as arrays:
            yield path.stem, int(path.stem[-1]), arrays["test"].astype(np.uint8)
