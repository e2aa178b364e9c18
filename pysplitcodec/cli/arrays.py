"""Reading arrays and images from files."""

from pathlib import Path
from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import FeatureError, MissingDependencyError
from pysplitcodec.runtime import TensorInfo

__all__ = ["load_array", "load_inputs"]

Array = npt.NDArray[Any]

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")


def load_array(path: Path) -> Array:
    """Read a .npy file, or the only array of a .npz file; never unpickles."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise FeatureError(f"{path} is no .npy or .npz file of numbers: {error}") from None
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1:
            raise FeatureError(
                f"{path} holds {len(loaded.files)} arrays ({', '.join(loaded.files)}): expected one"
            )
        only: Array = loaded[loaded.files[0]]
        return only


def load_inputs(
    path: Path, wanted: TensorInfo, value_range: Optional[tuple[float, float]]
) -> list[Array]:
    """Read a file as inputs of a model, each with the model's shape and dtype.

    A .npy or .npz array is taken as it is: one input, or a batch of them along its first axis.
    An image is resized to the input's height and width.  Its pixels 0..255 become integers as the
    model quantises them, or are spread over `value_range` (default 0..1) for float models.
    """
    if path.suffix.lower() in IMAGES:
        return [_load_image(path, wanted, value_range)]
    array = load_array(path)
    if array.dtype.name != wanted.dtype:
        raise FeatureError(f"{path} has dtype {array.dtype}: the model takes {wanted.dtype}")
    if array.shape == wanted.shape or array.shape == wanted.shape[1:]:
        return [array.reshape(wanted.shape)]
    if array.shape[1:] == wanted.shape[1:]:
        return [sample[None] for sample in array]
    raise FeatureError(
        f"{path} has shape {array.shape}: the model takes {wanted.shape}, or a batch of those"
    )


def _load_image(
    path: Path, wanted: TensorInfo, value_range: Optional[tuple[float, float]]
) -> Array:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependencyError(
            "reading images needs Pillow: pip install 'pysplitcodec[cli]'"
        ) from None
    if len(wanted.shape) != 4 or wanted.shape[3] not in (1, 3):
        raise FeatureError(
            f"{path} is an image, but the model takes {wanted.shape}: give a .npy file"
        )
    _, height, width, channels = wanted.shape
    try:
        with Image.open(path) as image:
            image = image.convert("L" if channels == 1 else "RGB")
            pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, OSError) as error:
        raise FeatureError(f"{path} cannot be read as an image: {error}") from None
    pixels = pixels.reshape(wanted.shape)
    if wanted.dtype == "uint8" and value_range is None:
        return pixels
    low, high = value_range or (0.0, 1.0)
    real = low + pixels.astype(np.float64) * ((high - low) / 255)
    if wanted.dtype == "float32":
        return real.astype(np.float32)
    if wanted.dtype not in ("int8", "uint8") or not wanted.scale:
        raise FeatureError(f"{path}: images cannot be turned into {wanted.dtype}; give a .npy file")
    limits = np.iinfo(wanted.dtype)
    steps = np.rint(real / wanted.scale) + (wanted.zero_point or 0)
    quantised: Array = np.clip(steps, limits.min, limits.max).astype(wanted.dtype)
    return quantised
