"""The C core through cffi in ABI mode: no compiler needed, only libsplitcodec and its header.

Offers the same names as the extension `_core`; see `_core.pyi`.  The library is searched for in
`SPLITCODEC_LIBRARY`, beside this package, and where the system keeps its libraries.
"""

from __future__ import annotations

import ctypes.util
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pysplitcodec.errors import MissingDependencyError, SplitCodecError, from_status

try:
    from cffi import FFI
except ImportError as error:
    raise MissingDependencyError(
        "neither the extension pysplitcodec._core nor cffi is installed; "
        "pip install 'pysplitcodec[cffi]' or build the package with a C++ compiler"
    ) from error

_HERE = Path(__file__).parent
_HEADERS = (
    _HERE / "include" / "splitcodec.h",
    _HERE.parent / "csrc" / "include" / "splitcodec.h",
    Path("/usr/local/include/splitcodec.h"),
    Path("/usr/include/splitcodec.h"),
)
_DTYPES = {0: "float32", 1: "float16", 2: "bfloat16", 3: "int8", 4: "uint8"}
_FLOAT32, _UINT8 = 0, 4
_MAX_RANK = 8


def _declarations() -> str:
    """The public header without what cffi's parser does not take: comments and preprocessor."""
    for header in _HEADERS:
        if header.is_file():
            text = header.read_text(encoding="utf-8")
            break
    else:
        raise MissingDependencyError("splitcodec.h not found; reinstall pysplitcodec")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r'#ifdef __cplusplus\n(extern "C" \{|\})\n#endif', "", text)
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    return text.replace("SPC_API", "")


def _open() -> Any:
    explicit = os.environ.get("SPLITCODEC_LIBRARY")
    beside = sorted((_HERE / "lib").glob("*splitcodec*"))
    system = ctypes.util.find_library("splitcodec")
    candidates = [explicit] if explicit else [*map(str, beside), *([system] if system else [])]
    for candidate in candidates:
        try:
            return _ffi.dlopen(candidate)
        except OSError as error:
            raise MissingDependencyError(f"cannot load {candidate}: {error}") from error
    raise MissingDependencyError(
        "libsplitcodec not found: set SPLITCODEC_LIBRARY to its path, "
        "or install it with `cmake --install`"
    )


_ffi = FFI()
_ffi.cdef(_declarations())
_lib = _open()
_local = threading.local()


def _check(status: int) -> None:
    if status:
        raise from_status(status, _text(_lib.spc_status_text(status)))


def _text(pointer: Any) -> str:
    raw: bytes = _ffi.string(pointer)
    return raw.decode("ascii")


def _work(size: int) -> Any:
    """Room for one call, kept per thread."""
    if size == 0:
        return _ffi.NULL
    if getattr(_local, "size", 0) < size:
        _local.room, _local.size = _ffi.new("uint8_t[]", size), size
    return _local.room


def _is_plain(array: Any, dtype: int) -> bool:
    return (
        isinstance(array, np.ndarray)
        and array.dtype.name == _DTYPES[dtype]
        and array.dtype.isnative
        and array.flags.c_contiguous
        and array.flags.aligned
    )


def _values(array: np.ndarray[Any, Any], dtype: int, n: int, name: str, write: bool = False) -> Any:
    if not _is_plain(array, dtype) or array.size != n:
        raise ValueError(f"{name}: wrong dtype, layout or number of elements")
    if write and not array.flags.writeable:
        raise ValueError(f"{name}: array is not writeable")
    return _ffi.cast("void *", array.ctypes.data)


def _bytes(array: np.ndarray[Any, Any], n: int, name: str, write: bool = False) -> Any:
    return _ffi.cast("uint8_t *", _values(array, _UINT8, n, name, write))


def _shape(dims: Sequence[int]) -> Any:
    if len(dims) > _MAX_RANK:
        _check(_lib.SPC_ERROR_ARGUMENT)
    shape = _ffi.new("spc_shape *")
    shape.rank = len(dims)
    for i, dim in enumerate(dims):
        shape.dims[i] = dim
    return shape


def _elements(shape: Any) -> int:
    n = _ffi.new("size_t *")
    _check(_lib.spc_shape_elements(shape, n))
    return int(n[0])


class Codebook:
    def __init__(self, centroids: np.ndarray[Any, Any]) -> None:
        self._centroids = np.array(centroids, dtype=np.float32)
        groups = self._centroids.shape[0] if self._centroids.ndim == 2 else 1
        levels = self._centroids.size // groups if groups else 0
        bits = max(levels - 1, 0).bit_length()
        if self._centroids.ndim not in (1, 2) or levels != 1 << bits:
            _check(_lib.SPC_ERROR_ARGUMENT)
        self._thresholds = np.empty(max((levels - 1) * groups, 1), dtype=np.int32)
        self.struct = _ffi.new("spc_codebook *")
        _check(
            _lib.spc_codebook_init_groups(
                self.struct,
                _ffi.cast("float *", self._centroids.ctypes.data),
                bits,
                groups,
                _ffi.cast("int32_t *", self._thresholds.ctypes.data),
            )
        )

    def thresholds(self) -> np.ndarray[Any, Any]:
        thresholds: np.ndarray[Any, Any] = self._thresholds.copy()
        return thresholds

    def quantize(
        self, dtype: int, values: np.ndarray[Any, Any], indices: np.ndarray[Any, Any]
    ) -> None:
        n = values.size
        source = _values(values, dtype, n, "values")
        target = _bytes(indices, n, "indices", write=True)
        _check(_lib.spc_quantize(self.struct, dtype, source, n, target))

    def dequantize(
        self, dtype: int, indices: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
    ) -> None:
        n = indices.size
        source = _bytes(indices, n, "indices")
        target = _values(values, dtype, n, "values", write=True)
        _check(_lib.spc_dequantize(self.struct, dtype, source, n, target))

    def quantize_pack(
        self, dtype: int, values: np.ndarray[Any, Any], packed: np.ndarray[Any, Any]
    ) -> None:
        n = values.size
        source = _values(values, dtype, n, "values")
        target = _bytes(packed, packed_size(n, self.struct.bits), "packed", write=True)
        _check(_lib.spc_quantize_pack(self.struct, dtype, source, n, target))

    def unpack_dequantize(
        self, dtype: int, packed: np.ndarray[Any, Any], values: np.ndarray[Any, Any]
    ) -> None:
        n = values.size
        source = _bytes(packed, packed_size(n, self.struct.bits), "packed")
        target = _values(values, dtype, n, "values", write=True)
        _check(_lib.spc_unpack_dequantize(self.struct, dtype, source, n, target))


class Model:
    def __init__(self, bytes: Any) -> None:
        # a copy, which the struct points to; initialised by bytes it would have a 0 more
        given = _ffi.from_buffer(bytes)
        self._bytes = _ffi.new("uint8_t[]", len(given))
        _ffi.memmove(self._bytes, given, len(given))
        self.struct = _ffi.new("spc_model *")
        _check(_lib.spc_model_init(self.struct, self._bytes, len(given)))

    def coder(self) -> int:
        return int(self.struct.coder)

    def bits(self) -> int:
        return int(self.struct.bits)

    def channels(self) -> int:
        return int(self.struct.channels)


class Codec:
    def __init__(
        self,
        codebook: Codebook,
        axis: int,
        dtype: int,
        shape: Sequence[int],
        model: Model | None = None,
        slice: tuple[int, int] = (0, 0),
    ) -> None:
        self._codebook, self._model = codebook, model  # own what the struct points to
        self._shape = tuple(shape)
        self._codec = _ffi.new("spc_codec *")
        _check(
            _lib.spc_codec_init_channels(
                self._codec, codebook.struct, _axis(axis), dtype, _shape(shape)
            )
        )
        if model is not None:
            _check(_lib.spc_codec_set_model(self._codec, model.struct))
        if slice[1] > 0:
            _check(_lib.spc_codec_set_slice(self._codec, *slice))
        self._dtype = dtype

    def id(self) -> int:
        return int(self._codec.id)

    def bound(self, kind: int) -> int:
        return int(_lib.spc_frame_bound(self._codec, kind))

    def encode_work_size(self, coder: int) -> int:
        return int(_lib.spc_encode_work_size(self._codec, coder))

    def quantize(self, feature: np.ndarray[Any, Any], indices: np.ndarray[Any, Any]) -> None:
        source = _values(feature, self._dtype, self._codec.n, "feature")
        target = _bytes(indices, self._codec.n, "indices", write=True)
        _check(_lib.spc_codec_quantize(self._codec, source, target))

    def dequantize(self, indices: np.ndarray[Any, Any], feature: np.ndarray[Any, Any]) -> None:
        source = _bytes(indices, self._codec.n, "indices")
        target = _values(feature, self._dtype, self._codec.n, "feature", write=True)
        _check(_lib.spc_codec_dequantize(self._codec, source, target))

    def _fits(self, array: Any, batch: int = 0) -> bool:
        return _is_plain(array, self._dtype) and array.shape[batch:] == self._shape

    def encode(self, coder: int, kind: int, feature: object) -> bytes | None:
        if not self._fits(feature):
            return None
        assert isinstance(feature, np.ndarray)
        frame = _ffi.new("uint8_t[]", self.bound(kind))
        length = _ffi.new("size_t *")
        work = _lib.spc_encode_work_size(self._codec, coder)
        _check(
            _lib.spc_encode(
                self._codec,
                coder,
                kind,
                _ffi.cast("void *", feature.ctypes.data),
                frame,
                len(frame),
                length,
                _work(work),
                work,
            )
        )
        return bytes(_ffi.buffer(frame, length[0]))

    def decode(self, frame: Any, out: object) -> bool:
        if not self._fits(out):
            return False
        assert isinstance(out, np.ndarray)
        if not out.flags.writeable:
            return False
        info = _parse(frame)
        data = _ffi.from_buffer(frame)
        work = _lib.spc_decode_work_size(self._codec, info.coder)
        target = _ffi.cast("void *", out.ctypes.data)
        _check(_lib.spc_decode(self._codec, data, len(data), target, out.nbytes, _work(work), work))
        return True

    def encode_batch(self, coder: int, kind: int, features: object) -> list[bytes] | None:
        if not self._fits(features, 1):
            return None
        assert isinstance(features, np.ndarray)
        frames = [self.encode(coder, kind, features[i, ...]) for i in range(len(features))]
        return [frame for frame in frames if frame is not None]

    def decode_batch(self, frames: list[Any], out: object) -> int:
        if not self._fits(out, 1):
            return -1
        assert isinstance(out, np.ndarray)
        if not out.flags.writeable or len(out) != len(frames):
            return -1
        for i, frame in enumerate(frames):
            try:
                self.decode(frame, out[i, ...])
            except SplitCodecError:
                return i
        return len(frames)


def version() -> str:
    return _text(_lib.spc_version())


def packed_size(n: int, bits: int) -> int:
    return int(_lib.spc_packed_size(n, bits))


def fit_kmeans(
    values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], centroids: np.ndarray[Any, Any]
) -> None:
    n, count = values.size, centroids.size
    source = _values(values, _FLOAT32, n, "values")
    if weights.dtype != np.uint32 or not weights.flags.c_contiguous or weights.size != n:
        raise ValueError("weights: wrong dtype, layout or number of elements")
    times = _ffi.cast("uint32_t *", weights.ctypes.data)
    target = _values(centroids, _FLOAT32, count, "centroids", write=True)
    size = _lib.spc_fit_kmeans_work_size(n, count)
    work = np.empty(size, dtype=np.uint8)  # not kept: it may be much
    room = _ffi.cast("void *", work.ctypes.data)
    _check(_lib.spc_fit_kmeans(source, times, n, count, target, room, size))


def pack(indices: np.ndarray[Any, Any], bits: int, packed: np.ndarray[Any, Any]) -> None:
    n = indices.size
    source = _bytes(indices, n, "indices")
    target = _bytes(packed, packed_size(n, bits), "packed", write=True)
    _check(_lib.spc_pack(source, n, bits, target))


def unpack(packed: np.ndarray[Any, Any], bits: int, indices: np.ndarray[Any, Any]) -> None:
    n = indices.size
    source = _bytes(packed, packed_size(n, bits), "packed")
    target = _bytes(indices, n, "indices", write=True)
    _check(_lib.spc_unpack(source, n, bits, target))


def coder_encode(
    coder: int,
    shape: Sequence[int],
    bits: int,
    indices: np.ndarray[Any, Any],
    axis: int = -1,
    model: Model | None = None,
) -> tuple[bytes, int]:
    symbols, n = _symbols(shape, bits, axis, model)
    source = _bytes(indices, n, "indices")
    payload = _ffi.new("uint8_t[]", _lib.spc_coder_bound(coder, symbols) or 1)
    length, used = _ffi.new("size_t *"), _ffi.new("spc_coder *")
    work = _lib.spc_coder_encode_work_size(coder, symbols)
    _check(
        _lib.spc_coder_encode(
            coder, symbols, source, payload, len(payload), length, used, _work(work), work
        )
    )
    return bytes(_ffi.buffer(payload, length[0])), int(used[0])


def coder_decode(
    coder: int,
    shape: Sequence[int],
    bits: int,
    payload: Any,
    indices: np.ndarray[Any, Any],
    axis: int = -1,
    model: Model | None = None,
) -> None:
    symbols, n = _symbols(shape, bits, axis, model)
    target = _bytes(indices, n, "indices", write=True)
    data = _ffi.from_buffer(payload)
    work = _lib.spc_coder_decode_work_size(coder, symbols)
    _check(_lib.spc_coder_decode(coder, symbols, data, len(data), target, _work(work), work))


def _axis(number: int) -> int:
    return 0xFFFFFFFF if number < 0 else number  # SPC_NO_AXIS: a macro, which cffi does not see


def _symbols(shape: Sequence[int], bits: int, axis: int, model: Model | None) -> tuple[Any, int]:
    dims = _shape(shape)
    symbols = _ffi.new("spc_symbols *")
    symbols.shape, symbols.axis, symbols.bits = dims[0], _axis(axis), bits
    symbols.model = _ffi.NULL if model is None else model.struct
    return symbols, _elements(dims)


def coder_name(coder: int) -> str | None:
    name = _lib.spc_coder_name(coder)
    return None if name == _ffi.NULL else _text(name)


def coder_available(coder: int) -> bool:
    return bool(_lib.spc_coder_available(coder))


def _parse(frame: Any) -> Any:
    info = _ffi.new("spc_frame_info *")
    data = _ffi.from_buffer(frame)
    _check(_lib.spc_frame_parse(data, len(data), info))
    return info


def _number(axis: int) -> int:
    return -1 if axis == _axis(-1) else int(axis)


def frame_parse(frame: Any) -> dict[str, Any]:
    info = _parse(frame)
    names = (
        *("kind", "coder", "codec_id", "payload_offset", "payload_len"),
        *("bits", "dtype", "groups", "model_len"),
    )
    found: dict[str, Any] = {name: int(getattr(info, name)) for name in names}
    found["shape"] = tuple(info.shape.dims[0 : info.shape.rank])
    found["axis"] = -1 if found["kind"] == 0 else _number(info.axis)
    found["slice"] = (int(info.slice_first), int(info.slice_whole))
    return found


def frame_length(frames: Any) -> int:
    data = _ffi.from_buffer(frames)
    length = _ffi.new("size_t *")
    _check(_lib.spc_frame_length(data, len(data), length))
    return int(length[0])


def codec_from_frame(
    frame: Any, max_elements: int
) -> tuple[np.ndarray[Any, Any], int, int, tuple[int, ...], bytes]:
    info = _parse(frame)
    data = _ffi.from_buffer(frame)
    codec = _ffi.new("spc_codec *")
    count = info.groups << info.bits
    values = np.empty((info.groups, 1 << info.bits), dtype=np.float32)
    thresholds = _ffi.new("int32_t[]", count + 1)
    centroids = _ffi.cast("float *", values.ctypes.data)
    _check(
        _lib.spc_codec_from_frame(
            codec, data, len(data), max_elements, centroids, thresholds, count
        )
    )
    dims = tuple(codec.shape.dims[0 : codec.shape.rank])
    model = bytes(_ffi.buffer(codec.model.bytes, codec.model.len)) if codec.model.len else b""
    return values, _number(codec.axis), int(codec.dtype), dims, model


def crc32c(data: Any, crc: int = 0) -> int:
    view = _ffi.from_buffer(data)
    return int(_lib.spc_crc32c(crc, view, len(view)))


def cpu_features() -> int:
    return int(_lib.spc_cpu_features())


def set_cpu_mask(mask: int) -> None:
    _lib.spc_set_cpu_mask(mask)


def kernels_name() -> str:
    return _text(_lib.spc_kernels_name())
