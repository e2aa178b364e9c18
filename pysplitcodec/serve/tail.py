"""A tail as requests see it: tensors or frames in, tensors out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pysplitcodec.codec import Codec, decode
from pysplitcodec.errors import (
    ArgumentError,
    CodecMismatchError,
    FrameError,
    ModelError,
    SplitCodecError,
)
from pysplitcodec.frame import inspect
from pysplitcodec.runtime import Model
from pysplitcodec.serve import protocol
from pysplitcodec.serve.protocol import ProtocolError, shown

__all__ = ["Tail", "check_name"]

Array = npt.NDArray[Any]

_FRAME = "frame"


def check_name(name: str) -> None:
    """Raise ArgumentError for the name of a model that cannot stand in a URL."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise ArgumentError(
            f"name is {name!r}: expected letters, digits, '_', '-' and '.', not first '-' or '.'"
        )


class Tail:
    """A model with one input, and the codecs whose frames it takes.

    Samples run one by one: a result is then the same bits whatever else is in its batch.
    """

    def __init__(self, model: Model, codecs: Sequence[Codec], name: str, max_batch: int) -> None:
        check_name(name)
        if len(model.inputs) != 1:
            raise ModelError(f"the tail has {len(model.inputs)} inputs: expected one")
        names = [output.name for output in model.outputs]
        if len(set(names)) != len(names):
            raise ModelError(f"the tail has several outputs of one name: {', '.join(names)}")
        self.name = name
        self.max_batch = max_batch
        self._model = model
        self._input = model.inputs[0]
        for codec in codecs:
            self._check_fits(codec.shape, codec.dtype, f"codec {codec.id:08x}", ArgumentError)
        self._codecs = {codec.id: codec for codec in codecs}
        # Shows at the start whether the model runs at all, and what its outputs look like.
        results = model(np.zeros(self._input.shape, self._input.dtype))
        self._batched = self._input.shape[:1] == (1,) and all(r.shape[:1] == (1,) for r in results)
        self._outputs = dict(zip(names, results))
        self._input_datatype = protocol.datatype_of(np.empty(0, self._input.dtype))

    def metadata(self) -> dict[str, Any]:
        """The protocol's model metadata, and in `parameters` what is peculiar to this server."""
        plain = _described(self._input.name, np.empty(self._input.shape, self._input.dtype))
        outputs = [_described(name, array) for name, array in self._outputs.items()]
        if self._batched:
            for described in (plain, *outputs):
                described["shape"][0] = -1
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": self._model.platform,
            "inputs": [{"name": _FRAME, "datatype": "BYTES", "shape": [-1]}, plain],
            "outputs": outputs,
            "parameters": {
                "codec_ids": [f"{id:08x}" for id in self._codecs],
                "max_batch": self.max_batch if self._batched else 1,
            },
        }

    def infer(self, body: bytes, json_len: int | None) -> protocol.Message:
        """Answer one request.  Raises ProtocolError, FrameError and ModelError."""
        request = protocol.decode_request(body, json_len)
        unknown = set(request.outputs) - set(self._outputs)
        if unknown:
            raise ProtocolError(
                f"there is no output {shown(min(unknown))}: the tail has "
                + ", ".join(map(shown, self._outputs))
            )
        wanted = request.outputs or dict.fromkeys(self._outputs, request.binary)

        begin = time.perf_counter()
        samples = self._samples(request.inputs)
        decoded = time.perf_counter()
        results = [self._model(sample) for sample in samples]
        done = time.perf_counter()

        outputs = {}
        for place, name in enumerate(self._outputs):
            if name in wanted:
                parts = [result[place] for result in results]
                outputs[name] = np.concatenate(parts) if len(parts) > 1 else parts[0]
        response = protocol.InferResponse(
            self.name,
            outputs,
            {"decode_us": (decoded - begin) * 1e6, "tail_us": (done - decoded) * 1e6},
            request.id,
        )
        return protocol.encode_response(response, {name for name in wanted if wanted[name]})

    def _samples(self, inputs: Mapping[str, Array]) -> list[Array]:
        """The tail's inputs, one for each run."""
        if len(inputs) != 1:
            raise ProtocolError(f"the request has {len(inputs)} inputs: expected one")
        ((name, array),) = inputs.items()
        datatype = protocol.datatype_of(array)
        if name == _FRAME and datatype == "BYTES":
            if array.ndim != 1:
                raise ProtocolError(f"'{_FRAME}' has shape {list(array.shape)}: expected [n]")
            self._check_batch(array.size)
            return [self._decoded(frame, i, array.size) for i, frame in enumerate(array)]
        if name != self._input.name:
            raise ProtocolError(
                f"there is no input {shown(name)}: expected '{_FRAME}' (BYTES) or "
                f"{shown(self._input.name)} ({self._input_datatype})"
            )
        if datatype != self._input_datatype:
            raise ProtocolError(f"{shown(name)} is {datatype}: expected {self._input_datatype}")
        shape = self._input.shape
        if array.shape == shape:
            return [array]
        if not self._batched or array.ndim != len(shape) or array.shape[1:] != shape[1:]:
            raise ProtocolError(
                f"input {shown(name)} has shape {list(array.shape)}: expected {list(shape)}"
                + (", or more than one of it" if self._batched else "")
            )
        self._check_batch(len(array))
        return [array[i : i + 1] for i in range(len(array))]

    def _decoded(self, frame: bytes, i: int, count: int) -> Array:
        try:
            info = inspect(frame)
            codec = self._codecs.get(info.codec_id)
            if codec is not None:
                feature = codec.decode(frame)
            elif info.shape is None:
                known = ", ".join(f"{id:08x}" for id in self._codecs) or "none"
                raise CodecMismatchError(
                    f"made by codec {info.codec_id:08x}: this server knows {known}"
                )
            else:
                # Before decoding, which allocates what the frame claims.
                self._check_fits(info.shape, str(info.dtype), "the frame", CodecMismatchError)
                feature = decode(frame)
        except SplitCodecError as error:
            kind = type(error) if isinstance(error, FrameError) else FrameError
            raise kind(f"frame {i} of {count}: {error}") from None
        return feature.reshape(self._input.shape)

    def _check_fits(
        self, shape: tuple[int, ...], dtype: str, what: str, kind: Callable[[str], Exception]
    ) -> None:
        """Features have the input's shape, or that of one sample, and its dtype."""
        ours = self._input.shape
        if dtype != self._input.dtype or not (shape == ours or (1, *shape) == ours):
            raise kind(
                f"{what} is for {dtype} features of shape {shape}: the tail's input is "
                f"{self._input.dtype} of shape {ours}"
            )

    def _check_batch(self, count: int) -> None:
        most = self.max_batch if self._batched else 1
        if not 1 <= count <= most:
            raise ProtocolError(f"the request has {count} samples: expected 1 to {most}")


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": protocol.datatype_of(array), "shape": list(array.shape)}
