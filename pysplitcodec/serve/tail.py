"""A tail as requests see it: tensors or frames in, tensors out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

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
from pysplitcodec.serve.limits import ServerLimits
from pysplitcodec.serve.protocol import ProtocolError, shown

__all__ = ["Answer", "Tail", "TailFile", "Work", "check_name"]

Array = npt.NDArray[Any]

_FRAME = "frame"
_DEFAULT = ServerLimits()


def check_name(name: str) -> None:
    """Raise ArgumentError for the name of a model that cannot stand in a URL."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise ArgumentError(
            f"name is {name!r}: expected letters, digits, '_', '-' and '.', not first '-' or '.'"
        )


class Work(NamedTuple):
    """A request that has been read: what to run, and what of it is wanted.

    inputs: frames, or samples as the model takes them.  wanted: outputs by name, and whether as
    binary.  timeout_s: how long it may wait; None: as long as it takes.  labels: the right class of
    each sample, or none.
    """

    inputs: Sequence[Any]
    are_frames: bool
    wanted: Mapping[str, bool]
    id: str = ""
    timeout_s: float | None = None
    labels: Sequence[int] = ()


class Answer(NamedTuple):
    """The outputs that were wanted, and seconds in decoding the request's frames and in the model.

    tail_s: of the whole run, if it ran stacked with others.  right: samples whose label is where
    the tail's first output is largest.  wait_s: seconds until the run began.
    """

    outputs: dict[str, Array]
    decode_s: float
    tail_s: float
    right: int = 0
    wait_s: float = 0.0


class _Decoded(NamedTuple):
    samples: list[Array]
    decode_s: float


class Tail:
    """A model with one input, and the codecs whose frames it takes.

    Samples run one by one: a result is then the same bits whatever else is in its batch.  With
    `limits.stack` they run together where the model takes more than one.

    Raises ArgumentError for a codec that does not fit the input or a name that cannot stand in a
    URL; ModelError for a model that does not run, or has more than one input.
    """

    def __init__(
        self,
        model: Model,
        codecs: Sequence[Codec] = (),
        name: str = "tail",
        limits: ServerLimits = _DEFAULT,
    ) -> None:
        check_name(name)
        if len(model.inputs) != 1:
            raise ModelError(f"the tail has {len(model.inputs)} inputs: expected one")
        names = [output.name for output in model.outputs]
        if len(set(names)) != len(names):
            raise ModelError(f"the tail has several outputs of one name: {', '.join(names)}")
        self.name = name
        self._model = model
        self._input = model.inputs[0]
        for codec in codecs:
            self._check_fits(codec.shape, codec.dtype, f"codec {codec.id:08x}", ArgumentError)
        self._codecs = {codec.id: codec for codec in codecs}
        # Shows at the start whether the model runs at all, and what its outputs look like.
        results = model(np.zeros(self._input.shape, self._input.dtype))
        self._batched = self._input.shape[:1] == (1,) and all(r.shape[:1] == (1,) for r in results)
        self._outputs = dict(zip(names, results))
        self._max_batch = limits.max_batch if self._batched else 1
        self._stack = limits.stack and self._batched and self._takes(2)
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
                "max_batch": self._max_batch,
            },
        }

    def read(self, body: bytes, json_len: int | None) -> Work:
        """A request of the protocol as work; frames are not decoded yet.  Raises ProtocolError."""
        request = protocol.decode_request(body, json_len)
        unknown = set(request.outputs) - set(self._outputs)
        if unknown:
            raise ProtocolError(
                f"there is no output {shown(min(unknown))}: the tail has "
                + ", ".join(map(shown, self._outputs))
            )
        wanted = request.outputs or dict.fromkeys(self._outputs, request.binary)
        inputs, are_frames = self._inputs(request.inputs)
        self._check_labels(request.labels, len(inputs))
        return Work(inputs, are_frames, wanted, request.id, request.timeout_s, request.labels)

    def of_frame(self, frame: bytes, timeout_s: float | None = None) -> Work:
        """One frame as work, all of whose outputs are wanted."""
        return Work([frame], True, dict.fromkeys(self._outputs, True), "", timeout_s)

    def run(self, works: Sequence[Work]) -> list[Answer | Exception]:
        """Answer requests together, each with its outputs or with what is wrong with it alone.

        Errors are FrameError and ModelError, or a defect.
        """
        decoded = [self._decode(work) for work in works]
        sound = [one for one in decoded if isinstance(one, _Decoded)]
        stacked = self._run_stacked(sound) if self._stack and len(sound) > 1 else None
        found: list[Answer | Exception] = []
        for work, one in zip(works, decoded):
            if isinstance(one, Exception):
                found.append(one)
                continue
            try:
                results, tail_s = next(stacked) if stacked else self._run_each(one.samples)
                right = _right(results[0], work.labels) if work.labels else 0
            except Exception as error:  # of this request: the others are answered
                found.append(error)
                continue
            pairs = zip(self._outputs, results)
            outputs = {name: result for name, result in pairs if name in work.wanted}
            found.append(Answer(outputs, one.decode_s, tail_s, right))
        return found

    def encode(self, work: Work, answer: Answer) -> protocol.Message:
        """The protocol's response.  Raises ProtocolError for what JSON cannot hold."""
        response = protocol.InferResponse(
            self.name,
            answer.outputs,
            {"decode_us": answer.decode_s * 1e6, "tail_us": answer.tail_s * 1e6},
            work.id,
        )
        return protocol.encode_response(
            response, {name for name in work.wanted if work.wanted[name]}
        )

    def _decode(self, work: Work) -> _Decoded | Exception:
        begin = time.perf_counter()
        samples, count = list(work.inputs), len(work.inputs)
        if work.are_frames:
            try:
                samples = [self._decoded(frame, i, count) for i, frame in enumerate(samples)]
            except Exception as error:
                return error
        return _Decoded(samples, time.perf_counter() - begin)

    def _run_each(self, samples: list[Array]) -> tuple[list[Array], float]:
        begin = time.perf_counter()
        runs = [self._model(sample) for sample in samples]
        results = [np.concatenate(parts) for parts in zip(*runs)] if len(runs) > 1 else runs[0]
        return results, time.perf_counter() - begin

    def _run_stacked(self, decoded: list[_Decoded]) -> Iterator[tuple[list[Array], float]] | None:
        """What each of several requests gets of one run; None if it fails."""
        begin = time.perf_counter()
        try:
            results = self._model(np.concatenate([one for some in decoded for one in some.samples]))
        except ModelError:
            return None  # who is to blame shows when they run one by one
        tail_s = time.perf_counter() - begin
        ends = np.cumsum([len(some.samples) for some in decoded])[:-1]
        return (
            (list(parts), tail_s) for parts in zip(*(np.split(result, ends) for result in results))
        )

    def _takes(self, samples: int) -> bool:
        """Whether the model runs on so many at once, and gives as many results."""
        shape = (samples, *self._input.shape[1:])
        try:
            results = self._model(np.zeros(shape, self._input.dtype))
        except ModelError:
            return False
        return all(result.shape[:1] == (samples,) for result in results)

    def _inputs(self, inputs: Mapping[str, Array]) -> tuple[list[Any], bool]:
        """Frames, or the model's inputs, one for each sample; and whether they are frames."""
        if len(inputs) != 1:
            raise ProtocolError(f"the request has {len(inputs)} inputs: expected one")
        ((name, array),) = inputs.items()
        datatype = protocol.datatype_of(array)
        if name == _FRAME and datatype == "BYTES":
            if array.ndim != 1:
                raise ProtocolError(f"'{_FRAME}' has shape {list(array.shape)}: expected [n]")
            self._check_batch(array.size)
            return list(array), True
        if name != self._input.name:
            raise ProtocolError(
                f"there is no input {shown(name)}: expected '{_FRAME}' (BYTES) or "
                f"{shown(self._input.name)} ({self._input_datatype})"
            )
        if datatype != self._input_datatype:
            raise ProtocolError(f"{shown(name)} is {datatype}: expected {self._input_datatype}")
        shape = self._input.shape
        if array.shape == shape:
            return [array], False
        if not self._batched or array.ndim != len(shape) or array.shape[1:] != shape[1:]:
            raise ProtocolError(
                f"input {shown(name)} has shape {list(array.shape)}: expected {list(shape)}"
                + (", or more than one of it" if self._batched else "")
            )
        self._check_batch(len(array))
        return [array[i : i + 1] for i in range(len(array))], False

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
        if not 1 <= count <= self._max_batch:
            raise ProtocolError(f"the request has {count} samples: expected 1 to {self._max_batch}")

    def _check_labels(self, labels: Sequence[int], count: int) -> None:
        if not labels:
            return
        if len(labels) != count:
            raise ProtocolError(f"the request has {len(labels)} labels for {count} samples")
        name, array = next(iter(self._outputs.items()))
        for label in labels:
            if not 0 <= label < array.size:
                raise ProtocolError(
                    f"label is {shown(label)}: expected 0 to {array.size - 1}, an element of "
                    f"output {shown(name)}"
                )


def _right(output: Array, labels: Sequence[int]) -> int:
    """How many samples' largest element is where their label says."""
    largest = output.reshape(len(labels), -1).argmax(axis=1)
    return int(np.count_nonzero(largest == labels))


class TailFile(NamedTuple):
    """A tail that is not in memory yet: its name, and what reads, checks and opens it."""

    name: str
    open: Callable[[], Tail]


def _described(name: str, array: Array) -> dict[str, Any]:
    return {"name": name, "datatype": protocol.datatype_of(array), "shape": list(array.shape)}
