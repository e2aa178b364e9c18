"""Real pictures as models take them, for what random numbers do not show.

On noise a segmentation network sees background everywhere: any two halves would agree on that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pysplitcodec.runtime import TensorInfo

# Inputs of fewer rows or columns are spectrograms.
_LEAST_SIDE = 28


def picture(data: Path, info: TensorInfo) -> npt.NDArray[Any] | None:
    """A photograph for an input of 3 channels, a written digit for one of rows and columns alone.

    data: the folder that SPLITCODEC_DATA names.  Values are pixels, 0 to 255, less 128 for int8.
    None if the input takes no pictures.
    """
    shape = info.shape[1:]
    first = len(shape) == 3 and shape[0] == 3
    last = len(shape) == 3 and shape[2] == 3
    height, width = (shape[1:] if first else (*shape, 0, 0))[:2]
    if not (first or last or len(shape) == 2) or min(height, width) < _LEAST_SIDE:
        return None
    name, mode = ("mnist_nine.bmp", "L") if len(shape) == 2 else ("cat_720p.jpg", "RGB")
    with Image.open(data / "coral-tflite" / name) as image:
        pixels = np.asarray(image.convert(mode).resize((width, height)), np.int16)
    if first:
        pixels = np.moveaxis(pixels, -1, 0)
    return (pixels - (128 if info.dtype == "int8" else 0))[None].astype(info.dtype)
