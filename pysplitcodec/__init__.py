"""pysplitcodec: quantise, code and send the feature at a network's split point.

Importing this package needs numpy alone; everything heavier is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pysplitcodec import errors
from pysplitcodec.auto import Device, Trial, fit_codec, try_coders
from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec, coders, decode, encode
from pysplitcodec.context_model import ContextModel
from pysplitcodec.errors import SplitCodecError
from pysplitcodec.frame import FrameInfo, inspect, read_frames
from pysplitcodec.native import core as _core
from pysplitcodec.range_model import RangeModel
from pysplitcodec.rans import RansModel
from pysplitcodec.slices import SlicedCodec

if TYPE_CHECKING:
    from pysplitcodec.splitting import list_cuts, split

__all__ = [
    "Codebook",
    "Codec",
    "ContextModel",
    "Device",
    "FrameInfo",
    "RangeModel",
    "RansModel",
    "SlicedCodec",
    "SplitCodecError",
    "Trial",
    "__version__",
    "coders",
    "decode",
    "encode",
    "errors",
    "fit_codec",
    "inspect",
    "list_cuts",
    "read_frames",
    "split",
    "try_coders",
]

__version__ = _core.version()


def __getattr__(name: str) -> Any:
    """Bring what splits models when it is first asked for: those who only code need none of it."""
    if name in ("list_cuts", "split"):
        from pysplitcodec import splitting

        return getattr(splitting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
