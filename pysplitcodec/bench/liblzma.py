"""Raw LZMA1 by liblzma itself, whose memory stays from one call to the next."""

from __future__ import annotations

import ctypes
import ctypes.util
import weakref
from typing import Any

__all__ = ["DICT_SIZE", "Liblzma"]

DICT_SIZE = 1 << 16

# Names and numbers of liblzma's headers: lzma/base.h, lzma/filter.h, lzma/lzma12.h, lzma/vli.h.
_LZMA1 = 0x4000000000000001
_NO_MORE_FILTERS = (1 << 64) - 1
_PRESET = 6
_FINISH = 3
_OK, _STREAM_END = 0, 1


class _Stream(ctypes.Structure):
    _fields_ = (
        ("next_in", ctypes.c_char_p),
        ("avail_in", ctypes.c_size_t),
        ("total_in", ctypes.c_uint64),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_size_t),
        ("total_out", ctypes.c_uint64),
        ("allocator", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
        ("reserved_ptr", ctypes.c_void_p * 4),
        ("seek_pos_and_reserved_int2", ctypes.c_uint64 * 2),
        ("reserved_int3_and_4", ctypes.c_size_t * 2),
        ("reserved_enum", ctypes.c_int * 2),
    )


class _Options(ctypes.Structure):
    _fields_ = (
        ("dict_size", ctypes.c_uint32),
        ("preset_dict", ctypes.c_void_p),
        ("preset_dict_size", ctypes.c_uint32),
        ("lc", ctypes.c_uint32),
        ("lp", ctypes.c_uint32),
        ("pb", ctypes.c_uint32),
        ("mode", ctypes.c_int),
        ("nice_len", ctypes.c_uint32),
        ("mf", ctypes.c_int),
        ("depth", ctypes.c_uint32),
        ("ext_and_reserved_int", ctypes.c_uint32 * 8),
        ("reserved_enum", ctypes.c_int * 4),
        ("reserved_ptr", ctypes.c_void_p * 2),
    )


class _Filter(ctypes.Structure):
    _fields_ = (("id", ctypes.c_uint64), ("options", ctypes.c_void_p))


class Liblzma:
    """Raw LZMA1 with lc = lp = pb = 0, preset 6 and 64 KiB of dictionary, of up to `largest` bytes.

    Raises OSError if there is no liblzma.
    """

    def __init__(self, largest: int) -> None:
        name = ctypes.util.find_library("lzma")
        if name is None:
            raise OSError("no liblzma was found")
        lib = ctypes.CDLL(name)
        lib.lzma_lzma_preset.argtypes = [ctypes.POINTER(_Options), ctypes.c_uint32]
        lib.lzma_end.restype = None
        lib.lzma_code.argtypes = [ctypes.POINTER(_Stream), ctypes.c_int]
        self._options = _Options()
        if lib.lzma_lzma_preset(self._options, _PRESET):
            raise OSError(f"{name} has no preset {_PRESET}")
        self._options.dict_size = DICT_SIZE
        self._options.lc = self._options.lp = self._options.pb = 0
        self._filters = (_Filter * 2)(
            _Filter(_LZMA1, ctypes.addressof(self._options)), _Filter(_NO_MORE_FILTERS, None)
        )
        self._out = ctypes.create_string_buffer(2 * largest + 256)
        self._lib, self._encoder, self._decoder = lib, _Stream(), _Stream()
        for stream in (self._encoder, self._decoder):
            weakref.finalize(self, lib.lzma_end, ctypes.byref(stream))

    def encode(self, data: bytes) -> bytes:
        """Return the raw stream, end marker included."""
        return self._code(self._lib.lzma_raw_encoder, self._encoder, data)

    def decode(self, data: bytes) -> bytes:
        """Return what was encoded."""
        return self._code(self._lib.lzma_raw_decoder, self._decoder, data)

    def _code(self, start: Any, stream: _Stream, data: bytes) -> bytes:
        """Start anew with the memory the stream has, and code all of `data` at once."""
        stream.next_in, stream.avail_in = data, len(data)
        stream.next_out, stream.avail_out = ctypes.addressof(self._out), len(self._out)
        status = start(ctypes.byref(stream), self._filters)
        if status == _OK:
            status = self._lib.lzma_code(stream, _FINISH)
        if status != _STREAM_END:
            raise RuntimeError(f"liblzma gives lzma_ret {status} for {len(data)} bytes")
        return ctypes.string_at(self._out, len(self._out) - stream.avail_out)
