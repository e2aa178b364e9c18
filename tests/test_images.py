"""Images as models take them, and back."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from pysplitcodec.errors import FeatureError
from pysplitcodec.images import ImageInput
from pysplitcodec.runtime import TensorInfo


def info(*shape: int, dtype: str = "float32", **scale: Any) -> TensorInfo:
    return TensorInfo("x", shape, dtype, scale.get("scale"), scale.get("zero_point"))


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 4, 6, 3), (4, 6, 3, False)),
        ((1, 3, 4, 6), (4, 6, 3, True)),
        ((1, 4, 6, 1), (4, 6, 1, False)),
        ((1, 1, 4, 6), (4, 6, 1, True)),
        ((1, 4, 6), (4, 6, 1, False)),
    ],
)
@pytest.mark.parametrize("value_range", [None, (0.0, 255.0), (-1.0, 1.0)])
def test_pixels_come_back(
    shape: tuple[int, ...], sizes: Any, value_range: tuple[float, float] | None
) -> None:
    height, width, channels, first = sizes
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    low, high = value_range or (0.0, 1.0)
    step = (high - low) / 255
    for given in (
        info(*shape),
        info(*shape, dtype="uint8"),
        info(*shape, dtype="int8", scale=step, zero_point=round(-128 - low / step)),
    ):
        image = ImageInput.of(given, value_range if given.dtype != "uint8" else None)
        assert (image.height, image.width, image.channels, image.channels_first) == sizes
        stored = image.stored(pixels)
        assert stored.shape == shape and stored.dtype == given.dtype
        back = image.pixels(stored)
        assert back.dtype == np.uint8
        # from -1 to 1 the steps of int8 lie between those of pixels
        apart = given.dtype == "int8" and low < 0
        assert np.abs(back.reshape(pixels.shape).astype(int) - pixels).max() <= apart
        assert back.shape == ((height, width, 3) if channels == 3 else (height, width))
    plain = ImageInput.of(info(*shape), value_range).stored(pixels)
    moved = pixels.transpose(2, 0, 1) if first else pixels
    assert plain.reshape(moved.shape) == pytest.approx(low + moved * step, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (info(1, 10), "the model takes (1, 10), which is no image"),
        (info(), "the model takes (), which is no image"),
        (info(2, 8, 8, 3), "which is no image"),
        (info(1, 8, 8, 4), "which is no image"),
        (info(1, 640, 1, 1), "which is no image"),
        (info(1, 8, 8, 3, dtype="int8"), "images cannot be turned into int8"),
        (info(1, 8, 8, 3, dtype="int64"), "images cannot be turned into int64"),
    ],
)
def test_no_images(given: TensorInfo, says: str) -> None:
    with pytest.raises(FeatureError, match=re.escape(says)):
        ImageInput.of(given)


@pytest.mark.parametrize("value", [-0.2, 1.3, np.nan])
def test_values_that_no_pixel_has(value: float) -> None:
    image = ImageInput.of(info(1, 8, 8, 3))
    inputs = np.full((1, 8, 8, 3), 0.5, np.float32)
    inputs[0, 3, 4, 1] = value
    with pytest.raises(FeatureError, match="outside of 0 to 1, what pixels mean"):
        image.pixels(inputs)
