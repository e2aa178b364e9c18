"""Images as a model takes them: where height, width and colours are, and what a pixel is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pysplitcodec.errors import FeatureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pysplitcodec.runtime import TensorInfo

__all__ = ["ImageInput"]


@dataclass(frozen=True)
class ImageInput:
    """An input that takes one image, grey or RGB.

    channels_first: whether the colours come before height and width.  value_range: what the pixel
    values 0 and 255 mean to the model; None: 0 and 1, or in a uint8 input the values themselves.
    """

    info: TensorInfo
    height: int
    width: int
    channels: int
    channels_first: bool
    value_range: tuple[float, float] | None = None

    @classmethod
    def of(cls, info: TensorInfo, value_range: tuple[float, float] | None = None) -> ImageInput:
        """Of an input of a batch of 1: [1, H, W], [1, H, W, C] or [1, C, H, W], C being 1 or 3.

        Raises FeatureError for other shapes, and dtypes that hold no pixels.
        """
        _, *sizes = info.shape or (0,)
        if len(sizes) == 2:
            sizes = [*sizes, 1]
        if info.shape[:1] == (1,) and len(sizes) == 3:
            first = sizes[2] not in (1, 3) and sizes[0] in (1, 3)
            channels, height, width = sizes if first else (sizes[2], sizes[0], sizes[1])
            if channels in (1, 3) and min(height, width) > 1:
                found = cls(info, height, width, channels, first, value_range)
                if found._raw or info.dtype == "float32" or found._steps:
                    return found
                raise FeatureError(f"images cannot be turned into {info.dtype}")
        raise FeatureError(f"the model takes {info.shape}, which is no image")

    @property
    def _raw(self) -> bool:
        return self.info.dtype == "uint8" and self.value_range is None

    @property
    def _steps(self) -> bool:
        return self.info.dtype in ("int8", "uint8") and bool(self.info.scale)

    def stored(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """An image, uint8 [H, W, C] or grey [H, W], as the model takes it."""
        image: NDArray[np.uint8] = pixels.reshape(self.height, self.width, self.channels)
        if self.channels_first:
            image = image.transpose(2, 0, 1)
        image = image.reshape(self.info.shape)
        if self._raw:
            return image
        low, high = self.value_range or (0.0, 1.0)
        real = low + image.astype(np.float64) * ((high - low) / 255)
        return self.info.stored(real)

    def pixels(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """The image that an input shows: uint8 [H, W, 3], or grey [H, W].

        Raises FeatureError for values that no pixel has.
        """
        values = stored.astype(np.float64)
        if not self._raw:
            low, high = self.value_range or (0.0, 1.0)
            level = 255 / (high - low)
            room = 0.5 + 1e-3  # of a level, and half a step of a scale that is coarser
            if self._steps and self.info.scale:
                values = (values - (self.info.zero_point or 0)) * self.info.scale
                room += abs(self.info.scale * level) / 2
            values = (values - low) * level
            if not (values.min() >= -room and values.max() <= 255 + room):
                raise FeatureError(
                    f"inputs hold values outside of {low:g} to {high:g}, what pixels mean to the "
                    "model"
                )
        image = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        order = (self.channels, self.height, self.width)
        if self.channels_first:
            image = image.reshape(order).transpose(1, 2, 0)
        image = image.reshape(self.height, self.width, self.channels)
        return np.ascontiguousarray(image if self.channels == 3 else image[..., 0])
