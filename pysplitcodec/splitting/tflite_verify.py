"""Bounds check of a TFLite flatbuffer, made before anything unpacks it.

The generated Python reader trusts every offset: it cuts strings short without a word, reads
negative offsets from the end of the file, and follows vectors that overlap, so that a file of a
few kilobytes can describe billions of tables and fill the memory.  This walk visits each table,
vector and string of the model once per reference, checks that it lies inside the file, and
limits the bytes visited to a small multiple of the file's size, so it takes linear time on any
input.  It needs nothing but the bytes.

Operator options are tables of scalars and number vectors, which the reader checks itself; only
the few kinds that hold strings are described here.
"""

from __future__ import annotations

import struct

from pysplitcodec.errors import ModelError

# An honest file refers to each of its bytes about once (writers may share equal strings and
# tables); a hostile one refers to the same bytes over and over.
_MAX_VISITS_PER_BYTE = 16

_STRING = "string"
_OPTIONS = "Options"

# Table name -> slot -> what the field refers to: an int is a vector of scalars of that many
# bytes, "string" a string, "[Name]" a vector of tables, any other name a table.  Scalar fields
# are left out.  The numbers are positions in TensorFlow Lite's schema.fbs, fixed for ever.
_FIELDS: dict[str, dict[int, int | str]] = {
    "Model": {
        1: "[OperatorCode]",
        2: "[SubGraph]",
        3: _STRING,
        4: "[Buffer]",
        5: 4,
        6: "[Metadata]",
        7: "[SignatureDef]",
        8: "[ExternalBufferGroup]",
        9: "[ExternalBuffer]",
    },
    "OperatorCode": {1: _STRING},
    "SubGraph": {0: "[Tensor]", 1: 4, 2: 4, 3: "[Operator]", 4: _STRING},
    "Tensor": {
        0: 4,
        3: _STRING,
        4: "Quantization",
        6: "Sparsity",
        7: 4,
        9: "[VariantSubType]",
    },
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8, 5: _OPTIONS},
    "Sparsity": {0: 4, 1: 4, 2: "[DimensionMetadata]"},
    "DimensionMetadata": {3: _OPTIONS, 5: _OPTIONS},
    "VariantSubType": {0: 4},
    "Operator": {1: 4, 2: 4, 4: _OPTIONS, 5: 1, 7: 1, 8: 4, 12: _OPTIONS},
    "Buffer": {0: 1},
    "Metadata": {0: _STRING},
    "SignatureDef": {0: "[TensorMap]", 1: "[TensorMap]", 2: _STRING},
    "TensorMap": {0: _STRING},
    "ExternalBufferGroup": {0: _STRING},
    "ExternalBuffer": {4: _STRING},
    "Options": {},
    "VarHandleOptions": {0: _STRING, 1: _STRING},
    "StablehloCustomCallOptions": {0: _STRING, 2: _STRING, 4: 4, 5: 1},
    "StableHLOCompositeOptions": {0: _STRING, 2: 1},
    # of the entry TFLITE_METADATA, what is read of it
    "ModelMetadata": {3: "[SubGraphMetadata]", 6: "[AssociatedFile]"},
    "SubGraphMetadata": {2: "[TensorMetadata]", 3: "[TensorMetadata]", 4: "[AssociatedFile]"},
    "TensorMetadata": {6: "[AssociatedFile]"},
    "AssociatedFile": {0: _STRING},
}

# (slot of the union in Operator, value of its type field, one slot earlier) -> table with strings
_OPTIONS_WITH_STRINGS = {
    (4, 111): "VarHandleOptions",
    (12, 5): "StablehloCustomCallOptions",
    (12, 21): "StableHLOCompositeOptions",
}


def verify(data: bytes) -> None:
    """Raise ModelError unless `data` is a well-formed TFLite flatbuffer.

    Checked: the file identifier, that every table, vector and string lies inside the file, and
    that they do not overlap beyond reason.  Not checked: what the numbers in them mean.
    """
    if len(data) < 8:
        raise ModelError(f"not a TFLite model: only {len(data)} bytes long")
    if data[4:8] != b"TFL3":
        raise ModelError(
            f"not a TFLite model: bytes 4 to 8 are {data[4:8]!r} where b'TFL3' is expected"
        )
    _Walk(data).root("Model")


def verify_metadata(data: bytes) -> None:
    """Raise ModelError unless `data` is a well-formed entry TFLITE_METADATA, as `verify`."""
    if data[4:8] != b"M001":
        raise ModelError("the metadata of the TFLite model are of an unknown kind")
    _Walk(data).root("ModelMetadata")


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _MAX_VISITS_PER_BYTE * len(data) + 4096

    def root(self, name: str) -> None:
        self._table(name, self._offset_at(0))

    def _spend(self, position: int, size: int) -> None:
        """Account for `size` bytes at `position`, which must lie inside the file."""
        if position < 0 or position + size > len(self._data):
            raise ModelError(
                "the TFLite model is truncated or corrupt: it refers to bytes "
                f"{position} to {position + size} of a file of {len(self._data)} bytes"
            )
        self._left -= size
        if self._left < 0:
            raise ModelError("the TFLite model is corrupt: its tables overlap")

    def _read(self, layout: str, position: int) -> int:
        self._spend(position, struct.calcsize(layout))
        return int(struct.unpack_from(layout, self._data, position)[0])

    def _offset_at(self, position: int) -> int:
        return position + self._read("<I", position)

    def _table(self, name: str, position: int) -> None:
        vtable = position - self._read("<i", position)
        vtable_size = self._read("<H", vtable)
        table_size = self._read("<H", vtable + 2)
        if vtable_size < 4 or vtable_size % 2 or table_size < 4:
            raise ModelError(f"the TFLite model is corrupt: bad {name} table at byte {position}")
        self._spend(vtable, vtable_size)
        self._spend(position, table_size)
        slots = struct.unpack_from(f"<{vtable_size // 2 - 2}H", self._data, vtable + 4)
        for slot, offset in enumerate(slots):
            if offset >= table_size:
                raise ModelError(
                    f"the TFLite model is corrupt: bad {name} table at byte {position}"
                )
            kind = _FIELDS[name].get(slot)
            if kind is None or offset == 0:
                continue
            if name == "Operator" and kind == _OPTIONS and slots[slot - 1]:
                union_type = self._data[position + slots[slot - 1]]
                kind = _OPTIONS_WITH_STRINGS.get((slot, union_type), _OPTIONS)
            self._field(kind, position + offset)

    def _field(self, kind: int | str, position: int) -> None:
        target = self._offset_at(position)
        if isinstance(kind, int):
            self._spend(target + 4, kind * self._read("<I", target))
        elif kind == _STRING:
            # one more byte: the writer ends every string with a zero
            self._spend(target + 4, self._read("<I", target) + 1)
        elif kind.startswith("["):
            count = self._read("<I", target)
            self._spend(target + 4, 4 * count)
            for i in range(count):
                self._table(kind[1:-1], self._offset_at(target + 4 + 4 * i))
        else:
            self._table(kind, target)
