"""Pictures of features."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pixels of a mosaic's sides, and the channels in it, at most.
SIDE, TILES = 256, 64


def draw_mosaic(channels: NDArray[Any]) -> dict[str, Any] | None:
    """A picture of the first channels of a sample, side by side, in rows as many as in columns.

    channels: [channels, rows, columns]; dimensions behind the second are put side by side, and a
    vector is broken into rows.  Each channel is black where it is least and white where it is
    greatest, and is made smaller, by means, where the picture would have sides of more than 256
    pixels.  Gives {"png": base64 of an 8-bit grey PNG, "channels": how many are in it, "width",
    "height"}; None without Pillow, or of a channel without elements.
    """
    try:
        from PIL import Image
    except ImportError:
        return None
    shown = channels[:TILES]
    if not shown.size:
        return None
    if shown.ndim < 3:
        width = math.ceil(math.sqrt(shown[0].size))
        missing = -shown[0].size % width
        flat = shown.reshape(len(shown), -1)
        shown = np.pad(flat, ((0, 0), (0, missing)), "edge").reshape(len(shown), -1, width)
    across = math.ceil(math.sqrt(len(shown)))
    down = math.ceil(len(shown) / across)
    tiles = shown.reshape(*shown.shape[:2], -1)
    height, width = (min(size, SIDE // across) for size in tiles.shape[1:])
    mosaic = np.zeros((down * height, across * width), np.uint8)
    for number, tile in enumerate(tiles):
        small = Image.fromarray(_grey(tile)).resize((width, height), Image.Resampling.BOX)
        row, column = divmod(number, across)
        mosaic[row * height : (row + 1) * height, column * width : (column + 1) * width] = small
    target = io.BytesIO()
    Image.fromarray(mosaic).save(target, "PNG", optimize=True)
    return {
        "png": base64.b64encode(target.getvalue()).decode("ascii"),
        "channels": len(tiles),
        "width": mosaic.shape[1],
        "height": mosaic.shape[0],
    }


def _grey(tile: NDArray[Any]) -> NDArray[np.uint8]:
    values = np.nan_to_num(tile.astype(np.float64), posinf=0, neginf=0)
    least, most = values.min(), values.max()
    grey: NDArray[np.uint8] = np.rint((values - least) * (255 / max(most - least, 1e-30))).astype(
        np.uint8
    )
    return grey
