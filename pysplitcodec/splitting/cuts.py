"""What a cut is, whatever the format of the model, and finding the one that was asked for."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable, NamedTuple, Union

import numpy as np

from pysplitcodec.errors import ArgumentError, SplitError


@dataclass(frozen=True)
class Cut:
    """A tensor at which a model can be cut so that this tensor alone is sent.

    index: number of the cut, from 0, along the graph; -1 for one of several tensors that only
        together are a cut.
    tensor: number of the tensor: in subgraph 0 of a TFLite model, among the inputs and then the
        operators' outputs of an ONNX model.
    name: name of the tensor, or "#7" for tensor 7 if it has none.
    shape: its static shape; a dimension that varies has the value a TFLite file gives, usually 1,
        and in an ONNX model what it has where the inputs' free dimensions are 1, or 1 if neither
        shape inference nor a run can tell.
    dtype: name of its numpy dtype.
    scale, zero_point: real value = scale * (value - zero_point); None unless the whole tensor is
        quantised with one pair.
    after: the operator that computes it, such as "CONV_2D" or "CUSTOM name".
    operators_before: how many operators the head has.
    """

    index: int
    tensor: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None
    after: str
    operators_before: int

    @property
    def elements(self) -> int:
        """How many numbers are sent for one run."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the tensor as it is, in bytes."""
        return self.elements * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Split:
    """The two halves of a model, as files of its format: `head, tail = split(model, at)`.

    cuts: the tensors that are sent, in the order of the head's outputs.
    """

    head: bytes
    tail: bytes
    cuts: tuple[Cut, ...]

    def __iter__(self) -> Iterator[bytes]:
        """Give head, then tail."""
        yield self.head
        yield self.tail

    @property
    def cut(self) -> Cut:
        """The tensor that is sent; the first where there are several."""
        return self.cuts[0]


# Several names, where the model's format allows it, are tensors to be sent together.
At = Union[Cut, int, str, Sequence[str]]


class Obstacle(NamedTuple):
    """Why a model cannot be cut at a tensor, and how many operators come before that."""

    reason: str
    operators_before: int


def find(cuts: Sequence[Cut], at: At, obstacle: Callable[[str], Obstacle | None]) -> Cut:
    """The one of `cuts` that `at` means.

    obstacle: what is in the way of cutting at the tensor of a name that is no cut, None if there
    is no such tensor.  Raises SplitError, which says what could be had instead.
    """
    if isinstance(at, Cut):
        for cut in cuts:
            if cut.tensor == at.tensor and cut.name == at.name:
                return cut
        raise SplitError(f"the cut at {short(at.name)} belongs to another model")
    if isinstance(at, str):
        return _find_name(cuts, at, obstacle)
    try:
        number = operator.index(at)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentError(
            f"at must be a Cut, a cut's number or a tensor's name, not {type(at).__name__}"
        ) from None
    if not 0 <= number < len(cuts):
        raise SplitError(f"there is no cut {number}: {_how_many(cuts)}")
    return cuts[number]


def unknown_name(cuts: Sequence[Cut], name: str) -> SplitError:
    """What to raise where the model has no tensor `name`."""
    close = difflib.get_close_matches(name, [cut.name for cut in cuts], n=3, cutoff=0.5)
    hint = f"; similar names: {', '.join(map(short, close))}" if close else ""
    return SplitError(f"the model has no tensor named {short(name)}: {_how_many(cuts)}{hint}")


def crossing_text(at: str, tensors: Sequence[str]) -> str:
    """That a cut `at`, as shown, would send all of `tensors`."""
    shown = ", ".join(map(short, tensors[:5])) + (", ..." if len(tensors) > 5 else "")
    return f"cutting at {at} would send {len(tensors)} tensors ({shown})"


def short(name: str) -> str:
    """A name for a message; converters join the names of all that they fused into one."""
    return repr(name if len(name) <= 60 else name[:57] + "...")


def _find_name(cuts: Sequence[Cut], name: str, obstacle: Callable[[str], Obstacle | None]) -> Cut:
    found = [cut for cut in cuts if cut.name == name]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(str(cut.index) for cut in found)
        raise SplitError(f"several cuts are named {short(name)}; give a number instead: {numbers}")
    there = obstacle(name)
    if there is None:
        raise unknown_name(cuts, name)
    raise SplitError(f"{there.reason}; {_near(cuts, there.operators_before)}")


def _how_many(cuts: Sequence[Cut]) -> str:
    if not cuts:
        return "the model cannot be cut at any single tensor"
    if len(cuts) == 1:
        return f"the model has one cut, 0, at {short(cuts[0].name)}"
    return f"the model has {len(cuts)} cuts, 0 to {len(cuts) - 1}"


def _near(cuts: Sequence[Cut], operators_before: int) -> str:
    """Name the cuts on either side of a tensor."""
    before = [cut for cut in cuts if cut.operators_before < operators_before]
    after = [cut for cut in cuts if cut.operators_before > operators_before]
    text = _how_many(cuts)
    if before:
        text += f"; the nearest before it is {before[-1].index}, {short(before[-1].name)}"
    if after:
        text += f"; the nearest after it is {after[0].index}, {short(after[0].name)}"
    return text
