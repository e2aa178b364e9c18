"""What a model's metadata says of its inputs and outputs, for halves that have only some of them.

The entry TFLITE_METADATA is a flatbuffer of its own (metadata_schema.fbs of TensorFlow Lite
Support), for which LiteRT has no classes.  Of it only one table has to change: it gets a vtable of
its own, behind all the rest, in which what does not hold of a half is absent.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from pysplitcodec.errors import ModelError
from pysplitcodec.splitting.tflite_verify import verify_metadata

# Slots of SubGraphMetadata: of tensors, of process units and of groups of tensors.
INPUTS = (2, 5, 7)
OUTPUTS = (3, 6, 8)

# Slots that hold tables: of ModelMetadata, of SubGraphMetadata and of TensorMetadata.
_SUBGRAPHS = 3
_FILES_OF_MODEL = _FILES_OF_TENSOR = 6
_FILES_OF_SUBGRAPH = 4


class Described(NamedTuple):
    """The metadata of a half.

    entry: what TFLITE_METADATA holds.  dropped_files: names of the files behind the flatbuffer,
    such as labels, that only the other half's tensors refer to.
    """

    entry: bytes
    dropped_files: frozenset[bytes]


def without(entry: bytes, dropped: tuple[int, ...]) -> Described | None:
    """`entry`, what TFLITE_METADATA holds, without its INPUTS or OUTPUTS.

    None if it cannot be read, or describes several subgraphs, which have other numbers in a half.
    """
    try:
        verify_metadata(entry)
    except ModelError:
        return None
    root = _table(entry, struct.unpack_from("<I", entry)[0])
    subgraphs = _tables(root, _SUBGRAPHS)
    if len(subgraphs) != 1:
        return None
    (subgraph,) = subgraphs
    kept = INPUTS if dropped is OUTPUTS else OUTPUTS
    named = {
        *_files([root], _FILES_OF_MODEL),
        *_files([subgraph], _FILES_OF_SUBGRAPH),
        *_files(_tables(subgraph, kept[0]), _FILES_OF_TENSOR),
    }
    others = _files(_tables(subgraph, dropped[0]), _FILES_OF_TENSOR)
    return Described(_absent(entry, subgraph.Pos, dropped), frozenset(others - named))


def _absent(entry: bytes, table: int, slots: tuple[int, ...]) -> bytes:
    """`entry` without the fields `slots` of the table at byte `table`."""
    vtable = table - struct.unpack_from("<i", entry, table)[0]
    (size,) = struct.unpack_from("<H", entry, vtable)
    # Other tables of the same layout may share the vtable.
    own = bytearray(entry[vtable : vtable + size])
    for slot in slots:
        place = 4 + 2 * slot
        own[place : place + 2] = bytes(len(own[place : place + 2]))
    edited = bytearray(entry)
    edited += bytes(len(edited) % 2)
    struct.pack_into("<i", edited, table, table - len(edited))
    return bytes(edited + own)


def _table(data: bytes, place: int) -> Any:
    return importlib.import_module("flatbuffers.table").Table(data, place)


def _tables(table: Any, slot: int) -> list[Any]:
    """The tables of a vector, none where it is absent."""
    offset = table.Offset(4 + 2 * slot)
    if not offset:
        return []
    start = table.Vector(offset)
    places = range(start, start + 4 * table.VectorLen(offset), 4)
    return [_table(table.Bytes, table.Indirect(place)) for place in places]


def _files(tables: Iterable[Any], slot: int) -> set[bytes]:
    """Names of the associated files of `tables`."""
    found = set()
    for table in tables:
        for file in _tables(table, slot):
            name = file.Offset(4)
            if name:
                found.add(bytes(file.String(file.Pos + name)))
    return found
