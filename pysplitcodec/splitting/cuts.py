"""What a cut is, whatever the format of the model, and finding the one that was asked for."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable, Generic, NamedTuple, TypeVar, Union

from pysplitcodec.errors import ArgumentError, SplitError

Half = TypeVar("Half")


@dataclass(frozen=True)
class Tensor:
    """A tensor of a model.

    number: its place in subgraph 0 of a TFLite model, among the inputs and then the operators'
        outputs of an ONNX model, in the order of computation of a PyTorch model.
    name: its name, or "#7" for tensor 7 if it has none; in a PyTorch model the path in
        `named_modules()` of the module that gives it, ":2" for a second call, or path of the
        module whose code made it and the operator, "layer1.0.add".
    shape: its static shape; a dimension that varies has the value a TFLite file gives, usually 1,
        and in other models what it has where the inputs' free dimensions are 1, or 1 if neither
        shape inference nor a run can tell.
    dtype: name of its dtype in numpy, or in torch if numpy has none.
    scale, zero_point: real value = scale * (value - zero_point); None unless the whole tensor is
        quantised with one pair.
    """

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Its size as it is, in bytes."""
        bits = re.search(r"\d+", self.dtype)  # "bool" has none
        return self.elements * (int(bits.group()) // 8 if bits else 1)


@dataclass(frozen=True)
class Cut:
    """A place at which a model can be cut: a tensor, whose head is what this tensor needs.

    index: number of the cut, from 0, along the graph; -1 if it was made of a list of names.
    name: name of the tensor.
    tensors: what is sent, in the order of computation: that tensor alone, unless more were asked
        for.
    after: the operator that computes the tensor, such as "CONV_2D", "Conv", "CUSTOM name".
    operators_before: how many operators the head has.
    modules: of a PyTorch model, paths of all modules that return the tensor, such as "layer1.0"
        and "layer1".
    repeats: index of the first cut that sends tensors of the same shapes and dtypes, None if it
        is this one.
    """

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    after: str
    operators_before: int
    modules: tuple[str, ...] = ()
    repeats: int | None = None

    @property
    def tensor(self) -> Tensor:
        """The tensor that is sent.  Raises SplitError where there are several."""
        if len(self.tensors) > 1:
            raise SplitError(
                f"{len(self.tensors)} tensors are sent at {short(self.name)}: see .tensors"
            )
        return self.tensors[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the one tensor."""
        return self.tensor.shape

    @property
    def dtype(self) -> str:
        """Name of the one tensor's dtype."""
        return self.tensor.dtype

    @property
    def elements(self) -> int:
        """How many numbers are sent for one run."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        """Size of the tensors as they are, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors)


@dataclass(frozen=True)
class Split(Generic[Half]):
    """The two halves of a model: `head, tail = split(model, at)`.

    head, tail: files of the model's format, as bytes; of a PyTorch model `torch.nn.Module`s.
    """

    head: Half
    tail: Half
    cut: Cut

    def __iter__(self) -> Iterator[Half]:
        """Give head, then tail."""
        yield self.head
        yield self.tail


# Several names are tensors to be sent together.
At = Union[Cut, int, str, Sequence[str]]


class Obstacle(NamedTuple):
    """Why a model cannot be cut at a tensor, and how many operators come before that."""

    reason: str
    operators_before: int


def find(cuts: Sequence[Cut], at: int | str, obstacle: Callable[[str], Obstacle | None]) -> Cut:
    """The one of `cuts` that has the number or the name `at`.

    obstacle: what is in the way of cutting at the tensor of a name that is no cut, None if there
    is no such tensor.  Raises SplitError, which says what could be had instead.
    """
    if isinstance(at, str):
        return _find_name(cuts, at, obstacle)
    try:
        number = operator.index(at)
    except TypeError:
        raise ArgumentError(
            f"at must be a Cut, a cut's number, a tensor's name or several, not {type(at).__name__}"
        ) from None
    if not 0 <= number < len(cuts):
        raise SplitError(f"there is no cut {number}: {_how_many(cuts)}")
    return cuts[number]


def unknown_name(cuts: Sequence[Cut], name: str) -> SplitError:
    """What to raise where the model has no tensor `name`."""
    known = dict.fromkeys(known for cut in cuts for known in (cut.name, *cut.modules))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; similar names: {', '.join(map(short, close))}" if close else ""
    return SplitError(f"the model has nothing named {short(name)}: {_how_many(cuts)}{hint}")


def crossing_text(at: str, tensors: Sequence[str]) -> str:
    """That a cut `at`, as shown, would send all of `tensors`."""
    shown = ", ".join(map(short, tensors[:5])) + (", ..." if len(tensors) > 5 else "")
    return f"cutting at {at} would send {len(tensors)} tensors ({shown})"


def short(name: str) -> str:
    """A name for a message; converters join the names of all that they fused into one."""
    return repr(name if len(name) <= 60 else name[:57] + "...")


def _find_name(cuts: Sequence[Cut], name: str, obstacle: Callable[[str], Obstacle | None]) -> Cut:
    found = [cut for cut in cuts if cut.name == name] or [
        cut for cut in cuts if name in cut.modules
    ]
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
        return "the model cannot be cut anywhere"
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
