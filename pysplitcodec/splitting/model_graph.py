"""A model that has been read, whatever its format: where it can be cut, and its halves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Generic

from pysplitcodec.errors import ArgumentError, SplitError
from pysplitcodec.splitting.cuts import (
    At,
    Cut,
    Half,
    Obstacle,
    Split,
    Tensor,
    crossing_text,
    find,
    short,
    unknown_name,
)


class ModelGraph(ABC, Generic[Half]):
    """A model, read and worked out once, to be cut anywhere.

    Tensors go by their numbers, see `Tensor.number`.  What an operator needs, itself among it, is
    a set of operators held as bits of one int.  Formats supply what is abstract here.
    """

    def __init__(self) -> None:
        self._listed: dict[int, list[Cut]] = {}

    def list_cuts(self, tensors: int = 1) -> list[Cut]:
        """As `pysplitcodec.splitting.list_cuts`."""
        if not isinstance(tensors, int) or tensors < 1:
            raise ArgumentError(f"tensors must be a positive int, not {tensors!r}")
        if tensors not in self._listed:
            self._listed[tensors] = self._list(tensors)
        return list(self._listed[tensors])

    def split(self, at: At, tensors: int = 1) -> Split[Half]:
        """As `pysplitcodec.splitting.split`."""
        if isinstance(at, Cut):
            cut = at
            if any(tensor.number not in self._find(tensor.name) for tensor in cut.tensors):
                raise SplitError(f"the cut at {short(cut.name)} belongs to another model")
            self._check([tensor.number for tensor in cut.tensors])
        elif isinstance(at, (list, tuple)):
            cut = self._together(at)
        else:
            cut = find(self.list_cuts(tensors), at, partial(self._obstacle, tensors))  # type: ignore[arg-type]
        sent = [tensor.number for tensor in cut.tensors]
        return Split(*self.halves(sent), cut)

    @abstractmethod
    def halves(self, sent: Sequence[int]) -> tuple[Half, Half]:
        """Head and tail, where the tensors `sent`, and they alone, cross."""

    @abstractmethod
    def _candidates(self, tensors: int) -> Iterable[int]:
        """The tensors that may be places to send so many, in the order of computation."""

    @abstractmethod
    def _find(self, name: str) -> list[int]:
        """The tensors of a name."""

    @abstractmethod
    def _name(self, tensor: int) -> str: ...

    @abstractmethod
    def _after(self, tensor: int) -> str:
        """The operator that computes a tensor, see `Cut.after`."""

    @abstractmethod
    def _head(self, tensors: Iterable[int]) -> int:
        """The operators that `tensors` need."""

    @abstractmethod
    def _crossing(self, head: int) -> list[int]:
        """What has to be sent when `head` is cut off, in the order of computation."""

    @abstractmethod
    def _never(self, tensor: int) -> str | None:
        """Why no cut has a tensor among what it sends, None if one may."""

    @abstractmethod
    def _tensors(self, numbers: Iterable[int]) -> dict[int, Tensor]:
        """What the tensors are, without those that are no arrays of numbers of a known shape."""

    def _operators(self, head: int) -> int:
        """How many operators a head has."""
        return bin(head).count("1")

    def _inseparable(self, at: str, head: int, crossing: Sequence[int]) -> str | None:
        """Why `head` cannot be cut off `at`, as shown, by sending all of `crossing`."""
        reasons = map(self._never, crossing)
        return next((f"cutting at {at} would send more: {r}" for r in reasons if r), None)

    def _shared_state(self, at: str, crossing: Sequence[int]) -> str | None:
        """As `_inseparable`, for what is worth saying even where too many tensors cross."""
        return None

    def _modules(self, tensor: int) -> tuple[str, ...]:
        """See `Cut.modules`."""
        return ()

    def _list(self, tensors: int) -> list[Cut]:
        places: dict[tuple[int, ...], int] = {}
        for place in self._candidates(tensors):
            if self._reason([place], tensors) is None:
                # the outputs of one operator have one head
                places.setdefault(tuple(self._crossing(self._head([place]))), place)
        known = self._tensors(dict.fromkeys(number for sent in places for number in sent))
        cuts: list[Cut] = []
        first: dict[tuple[object, ...], int] = {}
        for sent, place in places.items():
            if all(number in known for number in sent):
                cut = self._cut(place, [known[number] for number in sent])
                kind = tuple((tensor.shape, tensor.dtype) for tensor in cut.tensors)
                repeats = first.setdefault(kind, len(cuts))
                cuts.append(
                    replace(cut, index=len(cuts), repeats=repeats if repeats < len(cuts) else None)
                )
        return cuts

    def _cut(self, place: int, sent: Sequence[Tensor]) -> Cut:
        return Cut(
            index=-1,
            name=self._name(place),
            tensors=tuple(sent),
            after=self._after(place),
            operators_before=self._operators(self._head(tensor.number for tensor in sent)),
            modules=self._modules(place),
        )

    def _together(self, names: Sequence[str]) -> Cut:
        """The cut that sends the tensors of these names and no others."""
        if not names or not all(isinstance(name, str) for name in names):
            raise ArgumentError("at must hold the names of the tensors to be sent, as strings")
        numbers = []
        for name in names:
            found = self._find(name)
            if len(found) > 1:
                raise SplitError(f"several tensors are named {short(name)}")
            if not found:
                raise unknown_name(self.list_cuts(), name)
            numbers += found
        self._check(numbers)
        sent = self._crossing(self._head(numbers))
        return self._cut(sent[-1], list(self._tensors(sent).values()))

    def _check(self, wanted: Sequence[int]) -> None:
        """Raise SplitError unless the model can be cut so that `wanted` alone are sent."""
        reason = self._reason(wanted, len(set(wanted))) or self._untyped(wanted)
        if reason:
            raise SplitError(reason)

    def _reason(self, wanted: Sequence[int], most: int) -> str | None:
        """Why the model cannot be cut at `wanted` by sending `most` tensors, None if it can."""
        for tensor in wanted:
            reason = self._never(tensor)
            if reason:
                return reason
        at = ", ".join(short(self._name(tensor)) for tensor in wanted)
        head = self._head(wanted)
        crossing = self._crossing(head)
        for tensor in wanted:
            if tensor not in crossing:
                name = short(self._name(tensor))
                if len(wanted) > 1:
                    return f"{name} need not be sent: nothing after the cut reads it"
                return f"no output of the model needs {name}"
        shared = self._shared_state(at, crossing)
        if shared:
            return shared
        if len(crossing) > most:
            return crossing_text(at, [self._name(tensor) for tensor in crossing])
        return self._inseparable(at, head, crossing)

    def _obstacle(self, tensors: int, name: str) -> Obstacle | None:
        """What is in the way of cutting at `name`, which is none of the cuts."""
        found = self._find(name)
        if not found:
            return None
        reason = self._reason(found[:1], tensors)
        if not reason:
            sent = self._crossing(self._head(found[:1]))
            reason = self._untyped(sent) or f"{short(name)} is sent by the cut beside it"
        return Obstacle(reason, self._operators(self._head(found[:1])))

    def _untyped(self, sent: Sequence[int]) -> str | None:
        known = self._tensors(sent)
        for number in sent:
            if number not in known:
                return (
                    f"{short(self._name(number))}, which {self._after(number)} computes, is not an "
                    "array of numbers of a common type, or of a type and shape that neither the "
                    "file nor a run can tell"
                )
        return None


def bits(mask: int) -> Iterator[int]:
    """The positions of the ones in `mask`, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
