"""Reading and writing TFLite files as trees of schema objects.

Reading ends in a tree where everything the model owns hangs in the tree: weights and custom
options that a large model keeps behind the flatbuffer are brought in, and so are the files that
metadata tools append as a ZIP archive, as `associatedFiles`.  Writing aligns weights to 16 bytes,
which the Python flatbuffer writer does not do by itself, and appends the files again.
"""

from __future__ import annotations

import copy
import importlib
import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np

from pysplitcodec.errors import MissingDependencyError, ModelError
from pysplitcodec.runtime import ModelSource, read_bytes
from pysplitcodec.splitting.tflite_verify import verify

# The schema's force_align of Buffer.data: XNNPACK and SIMD kernels read weights in place.
_BUFFER_ALIGNMENT = 16

# An honest file refers to each byte behind the flatbuffer about once.
_MAX_OVERLAP = 4


def schema() -> Any:
    """The module of generated schema classes; imported on first use, for it takes a while."""
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingDependencyError(
            "splitting TFLite models needs the schema that comes with LiteRT (Python 3.10 or "
            'later): pip install "pysplitcodec[tflite]"'
        ) from error


def read_model(model: ModelSource) -> Any:
    """Unpack a TFLite file into a `ModelT` tree that has `associatedFiles` as well.

    Raises ModelError for anything that is not a complete, self-contained TFLite model.
    """
    data = read_bytes(model)
    classes = schema()
    verify(data)
    try:
        tree = classes.ModelT.InitFromPackedBuf(data)
        _check_options_known(tree, classes)
        _bring_in_external_data(tree, data)
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, OverflowError) as e:
        if isinstance(e, ModelError):
            raise
        raise ModelError(f"the TFLite model is corrupt: {e}") from e
    tree.associatedFiles = _associated_files(data)
    return tree


def _associated_files(data: bytes) -> list[tuple[zipfile.ZipInfo, bytes]]:
    """The files in the archive behind the flatbuffer; none where no sound one is."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = archive.infolist()
            if sum(info.file_size for info in files) <= _MAX_OVERLAP * len(data):
                return [(info, archive.read(info)) for info in files]
    # RuntimeError: encrypted, or compressed in a way that this Python does not know.
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError,
            RuntimeError):  # fmt: skip
        pass
    return []


def _check_options_known(tree: Any, classes: Any) -> None:
    """Refuse options of a newer schema: unpacking drops them, and the operator would change."""
    known = {value for name, value in vars(classes.BuiltinOptions).items() if name[0] != "_"}
    known2 = {value for name, value in vars(classes.BuiltinOptions2).items() if name[0] != "_"}
    for subgraph in tree.subgraphs or []:
        for operator in subgraph.operators or []:
            if (
                operator.builtinOptionsType not in known
                or operator.builtinOptions2Type not in known2
            ):
                raise ModelError(
                    "the TFLite model uses operator options that the installed ai-edge-litert "
                    "does not know; a newer ai-edge-litert may read it"
                )


def _bring_in_external_data(tree: Any, data: bytes) -> None:
    """Replace references to bytes behind the flatbuffer by the bytes."""
    behind = _Behind(data)
    for number, buffer in enumerate(tree.buffers or []):
        # The runtimes take offsets 0 and 1 to mean that there is none.
        if buffer.offset > 1:
            buffer.data = behind.take(buffer.offset, buffer.size, f"buffer {number}")
            buffer.offset = buffer.size = 0
    for subgraph in tree.subgraphs or []:
        for tensor in subgraph.tensors or []:
            if tensor.externalBuffer:
                raise ModelError(
                    f"the weights of tensor {tensor_name(tensor)!r} are in a separate file; "
                    "models with separate weight files are not supported"
                )
        for number, operator in enumerate(subgraph.operators or []):
            offset, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
            if offset > 1:
                operator.customOptions = behind.take(offset, size, f"options of operator {number}")
                operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


class _Behind:
    """The bytes of a file, taken in pieces that may not overlap beyond reason."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _MAX_OVERLAP * len(data)

    def take(self, offset: int, size: int, what: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if offset + size > len(self._data):
            raise ModelError(
                f"the TFLite model is truncated: {what} is at bytes {offset} to {offset + size} "
                f"of a file of {len(self._data)} bytes"
            )
        self._left -= size
        if self._left < 0:
            raise ModelError("the TFLite model is corrupt: its buffers overlap")
        return np.frombuffer(self._data, np.uint8, size, offset)


def tensor_name(tensor: Any) -> str:
    """Name of a `TensorT`, "" when it has none."""
    return (tensor.name or b"").decode("utf-8", "replace")


class AlignedBuffer:
    """A model buffer that writes itself at a multiple of 16 bytes; stands in for `BufferT`."""

    def __init__(self, data: np.ndarray[Any, Any] | None) -> None:
        """Hold `data`: uint8 array, or None for a buffer without any."""
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the name the schema's writer calls)
        """Write this buffer and return its place, as the schema classes do."""
        classes = schema()
        place = None
        if self.data is not None:
            # The writer aligns bytes to 4; once the padding is right, it adds none of its own.
            builder.Prep(_BUFFER_ALIGNMENT, len(self.data))
            place = builder.CreateNumpyVector(self.data)
        classes.BufferStart(builder)
        if place is not None:
            classes.BufferAddData(builder, place)
        return int(classes.BufferEnd(builder))


def write_model(tree: Any) -> bytes:
    """Pack a tree as of `read_model`, but with `AlignedBuffer`s, into a TFLite file.

    Raises ModelError when the result would exceed the 2 GB that a flatbuffer can hold.
    """
    flatbuffers = importlib.import_module("flatbuffers")
    weights = sum(0 if b.data is None else len(b.data) for b in tree.buffers)
    try:
        # Room for everything at once: the builder copies itself each time it doubles.
        builder = flatbuffers.Builder(weights + weights // 8 + 65536)
        builder.Finish(tree.Pack(builder), file_identifier=b"TFL3")
    except flatbuffers.builder.BuilderSizeError as error:
        raise ModelError("the model is too large: a TFLite file holds 2 GB at most") from error
    if not tree.associatedFiles:
        return bytes(builder.Output())
    file = io.BytesIO(builder.Output())
    with zipfile.ZipFile(file, "a") as archive:
        for info, content in tree.associatedFiles:
            # Writing changes it.
            archive.writestr(copy.copy(info), content)
    return file.getvalue()
