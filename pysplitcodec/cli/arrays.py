"""Reading arrays and images from files."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, TypeVar

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import ArgumentError, FeatureError, MissingDependencyError
from pysplitcodec.images import ImageInput
from pysplitcodec.runtime import TensorInfo, open_model

__all__ = ["load_array", "load_inputs", "load_model_inputs"]

Array = npt.NDArray[Any]
_Item = TypeVar("_Item")

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
    path: Path,
    wanted: TensorInfo,
    value_range: Optional[tuple[float, float]],
    most: Optional[int] = None,
) -> list[Array]:
    """Read a file, or a folder of images, as inputs of a model, each with its shape and dtype.

    A .npy or .npz array is taken as it is: one input, or a batch of them along its first axis.
    An image is resized to the input's height and width, channels last or first.  Its pixels 0..255
    become integers as the model quantises them, or are spread over `value_range` (default 0..1) for
    float models.  most: how many inputs are drawn, from a fixed seed, where there are more.  Images
    of a folder, and of those in it, always come in such an order, for they may be sorted by class.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES)
        if not files:
            raise FeatureError(f"{path} holds no images ({', '.join(IMAGES)})")
        return [_load_image(file, wanted, value_range) for file in _drawn(files, most)]
    if path.suffix.lower() in IMAGES:
        return [_load_image(path, wanted, value_range)]
    array = load_array(path)
    if array.dtype.name != wanted.dtype:
        raise FeatureError(f"{path} has dtype {array.dtype}: the model takes {wanted.dtype}")
    if array.shape == wanted.shape or array.shape == wanted.shape[1:]:
        return [array.reshape(wanted.shape)]
    if array.shape[1:] == wanted.shape[1:]:
        samples = [sample[None] for sample in array]
        return samples if most is None or len(samples) <= most else _drawn(samples, most)
    raise FeatureError(
        f"{path} has shape {array.shape}: the model takes {wanted.shape}, or a batch of those"
    )


def load_model_inputs(
    model: Path,
    paths: Sequence[Path],
    value_range: Optional[tuple[float, float]] = None,
    most: Optional[int] = None,
) -> list[list[Array]]:
    """As `load_inputs`, of several files, for what the model in a file takes: one input each."""
    wanted = open_model(model).inputs
    if len(wanted) != 1:
        names = ", ".join(info.name for info in wanted)
        raise ArgumentError(
            f"--input: the model takes {len(wanted)} inputs ({names}), expected one"
        )
    found = [array for path in paths for array in load_inputs(path, wanted[0], value_range, most)]
    if most is not None and len(found) > most:
        found = _drawn(found, most)
    return [[array] for array in found]


def _drawn(items: list[_Item], most: Optional[int]) -> list[_Item]:
    """At most so many of the items, in a random order that is always the same."""
    return random.Random(0).sample(items, len(items) if most is None else min(most, len(items)))


def _load_image(
    path: Path, wanted: TensorInfo, value_range: Optional[tuple[float, float]]
) -> Array:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise MissingDependencyError(
            "reading images needs Pillow: pip install 'pysplitcodec[cli]'"
        ) from None
    try:
        taken = ImageInput.of(wanted, value_range)
    except FeatureError as error:
        raise FeatureError(f"{path} is an image, but {error}: give a .npy file") from None
    try:
        with Image.open(path) as image:
            image = image.convert("L" if taken.channels == 1 else "RGB")
            size = (taken.width, taken.height)
            pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    except (UnidentifiedImageError, OSError) as error:
        raise FeatureError(f"{path} cannot be read as an image: {error}") from None
    return taken.stored(pixels)
