"""The golden vectors of the wire format as what firmware's self-test is asked to do."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pysplitcodec import frame as _frame
from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec
from pysplitcodec.model import CoderModel, load_model
from pysplitcodec.native import CODERS, core, numpy_dtype
from pysplitcodec.range_model import RangeModel

__all__ = ["DIGITS", "STATUSES", "Case", "cases_of", "description_of", "unpacked"]

_Entry = dict[str, Any]

# hexadecimal ones of an element
DIGITS = {"float32": 8, "float16": 4, "bfloat16": 4, "int8": 2, "uint8": 2}
_FRAMES = ("pack", "narrow-frames", "shapes", "channels", "slices", "lzma", "context")
# spc_status of the errors that vectors name; None: nothing that the core alone would say
STATUSES = {
    None: None,
    "FrameError": None,
    "CoderUnavailableError": 5,
    "FrameLimitError": 6,
    "NotAFrameError": 7,
    "FrameVersionError": 8,
    "TruncatedFrameError": 9,
    "ChecksumError": 10,
    "CodecMismatchError": 11,
    "CorruptFrameError": 12,
}
_NO_CODER, _CORRUPT = 5, 12
_MAX_ELEMENTS = 1 << 26
_COMPACT = 0


@dataclass(frozen=True)
class Case:
    """One call of the core: `encode` or decode.

    given and wanted: a feature and the frame to come of it, or a frame and its feature.
    description: a self-describing frame of the codec; empty to decode with what the frame says.
    coder, kind: spc_coder and spc_frame_kind to encode with; status: the spc_status to come of it.
    max_elements: more are refused.
    """

    name: str
    encode: bool
    description: bytes
    given: bytes
    wanted: bytes
    coder: int = 0
    kind: int = _COMPACT
    status: int = 0
    max_elements: int = _MAX_ELEMENTS


def description_of(codec: Codec) -> bytes:
    """Return a self-describing frame of the codec, whatever feature it holds."""
    zeros = np.zeros(codec.shape, numpy_dtype(codec.dtype))
    return codec.encode(zeros, self_describing=True)


def cases_of(folder: Path) -> Iterator[Case]:
    """Yield all that tests/vectors has for an encoder and decoder.

    folder: with the vectors' JSON files.  Raises OSError if one is not there.
    """
    vectors = _Vectors(folder)
    yield from vectors.quantized()
    yield from vectors.frames()
    yield from vectors.payloads_of_range()
    yield from vectors.payloads_of_rans()
    yield from vectors.refused()


def _load(folder: Path, name: str) -> list[_Entry]:
    entries: list[_Entry] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return entries


def _elements(digits: str, dtype: str) -> bytes:
    """Elements as a little-endian machine has them; the digits are most significant first."""
    size = DIGITS[dtype] // 2
    return np.frombuffer(bytes.fromhex(digits), f">u{size}").astype(f"<u{size}").tobytes()


def _frame_of(codec: Codec, coder: int, payload: bytes) -> bytes:
    """A compact frame with this payload, whether or not the codec would make it."""
    head = bytes((0xC1, coder)) + codec.id.to_bytes(4, "little") + payload
    return head + core.crc32c(head).to_bytes(4, "little")


def _packed(indices: bytes, bits: int) -> bytes:
    number = sum(index << at * bits for at, index in enumerate(indices))
    return number.to_bytes((len(indices) * bits + 7) // 8, "little")


def unpacked(packed: bytes, count: int, bits: int) -> bytes:
    """Return the indices, a byte each, of which these are `bits` bits each."""
    number = int.from_bytes(packed, "little")
    return bytes(number >> at * bits & ((1 << bits) - 1) for at in range(count))


class _Vectors:
    """The files of one folder; codebooks by their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.books: dict[str, Codebook] = {}
        self.outputs: dict[tuple[str, str], list[bytes]] = {}
        for book in _load(folder, "codebooks"):
            name = book["name"]
            centroids = np.frombuffer(_elements(book["centroids"], "float32"), "<f4")
            self.books[name] = Codebook(centroids)
            for dtype, digits in (
                *(("float32", book["centroids"]), ("int8", book["int8"])),
                ("uint8", book["uint8"]),
            ):
                self._keep(name, dtype, digits)
        self.narrow = _load(folder, "narrow")
        for entry in self.narrow:
            self._keep(entry["codebook"], entry["dtype"], entry["restored"])

    def _keep(self, name: str, dtype: str, digits: str) -> None:
        whole, size = _elements(digits, dtype), DIGITS[dtype] // 2
        self.outputs[name, dtype] = [whole[at : at + size] for at in range(0, len(whole), size)]

    def codec(self, entry: _Entry, coder: str = "pack") -> Codec:
        """What the entry says of its codec."""
        names = entry.get("codebooks", [entry.get("codebook")])
        books = [self.books[name] for name in names]
        model = load_model(bytes.fromhex(entry["model"])) if entry.get("model") else None
        return Codec(
            books if "axis" in entry else books[0],
            model.coder if model else coder,
            shape=entry["shape"],
            dtype=entry["dtype"],
            channel_axis=entry.get("axis"),
            slice_of=tuple(entry["slice_of"]) if "slice_of" in entry else None,
            model=model,
        )

    def restored(self, entry: _Entry, indices: bytes, dtype: str) -> bytes:
        """What the indices stand for."""
        names = entry.get("codebooks", [entry.get("codebook")])
        if len(names) == 1:
            outputs = self.outputs[names[0], dtype]
            return b"".join([outputs[index] for index in indices])
        axis, shape = entry["axis"], entry["shape"]
        inner, each = math.prod(shape[axis + 1 :]), shape[axis] // len(names)
        return b"".join(
            self.outputs[names[at // inner // each % len(names)], dtype][index]
            for at, index in enumerate(indices)
        )

    def quantized(self) -> Iterator[Case]:
        """Values and their indices, in packed frames."""
        for entry in [*_load(self.folder, "quantize"), *self.narrow]:
            indices = bytes.fromhex(entry["indices"])
            codec = self.codec({**entry, "shape": [len(indices)]})
            frame = _frame_of(codec, 0, _packed(indices, codec.bits))
            name = f"quantize-{entry['codebook']}-{entry['dtype']}"
            given = _elements(entry["values"], entry["dtype"])
            yield Case(name, True, description_of(codec), given, frame)

    def frames(self) -> Iterator[Case]:
        """Features, indices and frames."""
        named: dict[str, _Entry] = {}
        for entry in [entry for name in _FRAMES for entry in _load(self.folder, name)]:
            named[entry["name"]] = entry
            like = named[entry["like"]] if "like" in entry else entry
            codec = self.codec(like, "lzma")
            indices = self._indices(entry, like, codec)
            restored = self.restored(like, indices, like["dtype"])
            feature = _elements(like["feature"], like["dtype"]) if "feature" in like else restored
            description = description_of(codec)
            for kind, key in enumerate(("compact", "self_describing")):
                if key in entry:
                    frame = bytes.fromhex(entry[key])
                    yield from self._both_ways(
                        entry["name"], codec, kind, description, (feature, frame, restored)
                    )

    def _indices(self, entry: _Entry, like: _Entry, codec: Codec) -> bytes:
        if "indices" in like:
            return bytes.fromhex(like["indices"])
        payload = bytes.fromhex(entry["compact"])[6:-4]  # pack vectors leave out what it says
        return unpacked(payload, math.prod(like["shape"]), codec.bits)

    def _both_ways(
        self,
        name: str,
        codec: Codec,
        kind: int,
        description: bytes,
        three: tuple[bytes, bytes, bytes],
    ) -> Iterator[Case]:
        feature, frame, restored = three
        used = _frame.inspect(frame).coder
        if used == "lzma":  # encoders may differ: what is wanted is the host's
            asked = CODERS["lzma"]
            values = np.frombuffer(feature, numpy_dtype(codec.dtype)).reshape(codec.shape)
            own = codec.encode(values, self_describing=kind != _COMPACT)
            yield Case(name, True, description, feature, own, asked, kind)
            yield Case(name, False, description, frame, b"", status=_NO_CODER)
            return
        asked = CODERS[codec.model.coder if codec.model else used]
        yield Case(name, True, description, feature, frame, asked, kind)
        yield Case(name, False, description, frame, restored)

    def payloads_of_range(self) -> Iterator[Case]:
        """Coder 2, of integers that are their own indices."""
        for entry in _load(self.folder, "range"):
            bits, count = entry["bits"], math.prod(entry["shape"])
            indices = unpacked(bytes.fromhex(entry["packed"]), count, bits)
            header = bytes((*b"SPM\1", CODERS["range"], bits)) + entry["shape"][0].to_bytes(
                2, "little"
            )
            body = header + bytes.fromhex(entry["model_body"])
            model = RangeModel(body + core.crc32c(body).to_bytes(4, "little"))
            for own, payload in ((None, entry["payload"]), (model, entry["payload_with_model"])):
                codec = self._of_integers(entry["shape"], 0, bits, own, "range")
                yield from self._payload(entry["name"], codec, indices, payload or "")

    def payloads_of_rans(self) -> Iterator[Case]:
        """Coder 3, likewise, and payloads that it refuses."""
        named: dict[str, _Entry] = {}
        for entry in _load(self.folder, "rans"):
            like = named[entry["like"]] if "like" in entry else entry
            if "indices" not in like:
                continue  # a model to refuse: no frame has it
            named[entry["name"]] = entry
            shape, bits = like["shape"], like["bits"]
            indices = unpacked(bytes.fromhex(like["indices"]), math.prod(shape), bits)
            model = load_model(bytes.fromhex(like["model"]))
            codec = self._of_integers(shape, like["axis"], bits, model, "rans")
            if "like" not in entry:
                yield from self._payload(entry["name"], codec, indices, entry["payload"])
            else:
                bad = _frame_of(codec, CODERS["rans"], bytes.fromhex(entry["payload"]))
                description = description_of(codec)
                yield Case(entry["name"], False, description, bad, b"", status=_CORRUPT)

    @staticmethod
    def _of_integers(
        shape: list[int], axis: int | None, bits: int, model: CoderModel | None, coder: str
    ) -> Codec:
        book = Codebook(np.arange(1 << bits))
        return Codec(book, coder, shape=shape, dtype="uint8", channel_axis=axis, model=model)

    @staticmethod
    def _payload(name: str, codec: Codec, indices: bytes, digits: str) -> Iterator[Case]:
        used = CODERS[codec.coder if digits else "pack"]
        payload = bytes.fromhex(digits) if digits else _packed(indices, codec.bits)
        frame, description = _frame_of(codec, used, payload), description_of(codec)
        yield Case(name, True, description, indices, frame, CODERS[codec.coder])
        yield Case(name, False, description, frame, indices)

    def refused(self) -> Iterator[Case]:
        """Bytes that are no frames."""
        for entry in _load(self.folder, "bad"):
            frame = bytes.fromhex(entry["frame"])
            most = entry.get("max_elements", _MAX_ELEMENTS)
            alone, with_codec = STATUSES[entry["error"]], STATUSES[entry["error_with_codec"]]
            if alone is not None:
                yield Case(entry["name"], False, b"", frame, b"", status=alone, max_elements=most)
            if with_codec is not None:
                description = description_of(self.codec(entry))
                yield Case(entry["name"], False, description, frame, b"", status=with_codec)
