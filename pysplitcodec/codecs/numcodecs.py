"""splitcodec as a codec of numcodecs, and so as a compressor of zarr arrays.

Needs the extra "numcodecs".  Registered by entry point: `numcodecs.get_codec({"id": "splitcodec",
"centroids": [...]})` finds it without this module having been imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pysplitcodec.codebook import Codebook, as_plain, checked_name
from pysplitcodec.codec import decode, encode
from pysplitcodec.errors import ArgumentError, MissingDependencyError
from pysplitcodec.native import CODERS

try:
    from numcodecs import abc, compat
except ImportError:
    raise MissingDependencyError(
        "pysplitcodec.codecs.numcodecs needs numcodecs: pip install 'pysplitcodec[numcodecs]'"
    ) from None

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["SplitCodec"]

_MAX_ELEMENTS = 0x1FFFFFFF
_MAX_RANK = 8


class SplitCodec(abc.Codec):  # type: ignore[misc]
    """Quantises chunks to `centroids` and codes them; lossy.

    centroids: 2, 4, ... or 256 strictly ascending values, or a Codebook; coder: "pack" or "lzma".
    Raises CodebookError or ArgumentError.

    >>> codec = SplitCodec([0.0, 0.5, 1.0, 2.0])
    >>> codec.decode(codec.encode(np.float32([0.1, 0.9, 7.0])))
    array([0., 1., 2.], dtype=float32)
    """

    codec_id: ClassVar[str] = "splitcodec"

    def __init__(self, centroids: ArrayLike | Codebook, coder: str = "lzma") -> None:
        self.codebook = centroids if isinstance(centroids, Codebook) else Codebook(centroids)
        checked_name(coder, CODERS, "coder")
        self.coder = coder

    def encode(self, buf: Any) -> bytes:
        """Return the self-describing frame of one chunk.

        buf: array of any dtype that a Codec takes, or a buffer of such elements.  Elements are
        coded in memory order, as numcodecs has it: the frame of a Fortran-ordered array holds its
        transpose.
        Raises FeatureError on another dtype or byte order.
        """
        values = np.asarray(compat.ensure_ndarray_like(buf))
        if values.flags.f_contiguous and not values.flags.c_contiguous:
            values = values.T
        if values.ndim > _MAX_RANK:
            values = values.reshape(-1)
        return encode(as_plain(values, name="buf"), self.codebook, self.coder)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Return the values of one chunk, in the dtype that was encoded.

        out: array or writeable buffer of as many bytes, which is filled and returned.  The frame
        brings its own codebook: any SplitCodec reads it.  Raises the FrameError that fits,
        and ArgumentError for an `out` of another size.
        """
        if out is None:
            return decode(buf, max_elements=_MAX_ELEMENTS)
        target: NDArray[Any] = np.asarray(compat.ensure_ndarray_like(out))
        values = decode(buf, max_elements=target.nbytes)
        if values.nbytes != target.nbytes:
            raise ArgumentError(f"out has {target.nbytes} bytes: expected {values.nbytes}")
        return compat.ndarray_copy(values, out)

    def get_config(self) -> dict[str, Any]:
        """Return what `numcodecs.get_codec` makes an equal codec from; JSON-ready."""
        return {"id": self.codec_id, **self.codebook.to_dict(), "coder": self.coder}

    def __repr__(self) -> str:
        return f"SplitCodec({self.codebook!r}, coder={self.coder!r})"
