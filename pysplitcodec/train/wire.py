"""What crosses the link in a split model that is trained: features through the real codec."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pysplitcodec.auto import Device, fit_codec
from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec

Floats = NDArray[np.float32]


class Wire(ABC):
    """Codes features of one shape [c, h, w]; nothing in it is trained any more.

    bits: width of an index, None where there are no centroids.
    """

    bits: int | None = None

    @abstractmethod
    def restore(self, features: Tensor) -> Tensor:
        """What the server gets for features [n, c, h, w]: float32, without gradient."""

    @abstractmethod
    def payload_bytes(self, calibration: Floats, features: Floats) -> dict[str, float]:
        """Mean bytes for one of `features`, for each coder, which may learn from `calibration`."""

    @abstractmethod
    def save(self, folder: Path, calibration: Floats) -> None:
        """Write what codes and decodes into a folder."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """As JSON: enough to code and decode."""


class CentroidWire(Wire):
    """Nearest centroids of one codebook, or of one for each channel."""

    def __init__(self, codebooks: Codebook | Sequence[Codebook], shape: Sequence[int]) -> None:
        self.plain = Codec(codebooks, "pack", shape=tuple(shape), channel_axis=0)
        self.bits = self.plain.bits

    def restore(self, features: Tensor) -> Tensor:
        """As `Wire.restore`: quantised and looked up by the core."""
        arrays = features.detach().cpu().contiguous().numpy()
        restored = np.empty_like(arrays)
        for array, out in zip(arrays, restored):
            out[...] = self.plain.dequantize(self.plain.quantize(array))
        return torch.from_numpy(restored).to(features.device)

    def codec(self, calibration: Floats, coder: str) -> Codec:
        """The codec, with a coder that has learned from calibration features what it can."""
        books = self.plain.codebook
        return fit_codec(books, calibration, coder, channel_axis=0, device=_ROOM)

    def payload_bytes(self, calibration: Floats, features: Floats) -> dict[str, float]:
        """As `Wire.payload_bytes`; every frame is decoded and compared with what it should give."""
        found = {}
        for coder in ("pack", "lzma", "range", "context"):
            codec = self.codec(calibration, coder)
            frames = codec.encode_batch(features)
            found[coder] = sum(map(len, frames)) / len(frames) - FRAME_BYTES
        return found

    def save(self, folder: Path, calibration: Floats) -> None:
        """Write codec.json, with the coder "context"."""
        self.codec(calibration, "context").save(folder / "codec.json")

    def describe(self) -> dict[str, Any]:
        """The codec as JSON."""
        return self.plain.to_dict()


FRAME_BYTES = 10  # of a compact frame, beside its payload
_ROOM = Device()
