"""Frames of videos and cameras, as a model takes them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import numpy.typing as npt

from pysplitcodec.errors import FeatureError, MissingDependencyError
from pysplitcodec.images import ImageInput
from pysplitcodec.runtime import TensorInfo

__all__ = ["VIDEOS", "video_frames"]

VIDEOS = (".avi", ".mkv", ".mov", ".mp4", ".webm")


def video_frames(
    source: Union[Path, int], wanted: TensorInfo, value_range: Optional[tuple[float, float]]
) -> Iterator[npt.NDArray[Any]]:
    """The frames of a video file, or of the camera of a number, until there are no more.

    Resized and turned into inputs as images are.  Raises FeatureError for a file that is no video,
    a camera that is not there, and a model that takes no images.
    """
    try:
        import cv2
    except ImportError:
        raise MissingDependencyError(
            "videos and cameras need OpenCV: pip install 'pysplitcodec[video]'"
        ) from None
    taken = ImageInput.of(wanted, value_range)
    wants = cv2.COLOR_BGR2GRAY if taken.channels == 1 else cv2.COLOR_BGR2RGB
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    what = f"camera {source}" if isinstance(source, int) else str(source)
    try:
        # What waits in a camera's buffer is old by the time it is wanted.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        read, frame = capture.read()
        if not read:
            raise FeatureError(f"{what} gives no frame")
        while read:
            size = taken.width, taken.height
            image = cv2.resize(cv2.cvtColor(frame, wants), size, interpolation=cv2.INTER_AREA)
            yield taken.stored(np.asarray(image, np.uint8))
            read, frame = capture.read()
    finally:
        capture.release()
