"""Models of coder `range`: which neighbours to look at, and what to expect then, per channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pysplitcodec.errors import ArgumentError
from pysplitcodec.model import BYTES_AROUND, CoderModel, checked_planes, framed
from pysplitcodec.native import CODERS, core

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["RangeModel"]

MOST_QUESTIONS = 8
MOST_CONTEXT_BITS = 10
# What the search looks at; more of each hardly pays and takes longer.
_SEARCHED_INDICES = 40_000  # of each channel
_SEARCHED_CHANNELS = 16  # earlier ones, the most alike
_SEARCHED_AROUND = 2  # of those, with the places around
_SEARCHED_LEASTS = 7
_TRIED_FEATURES = 32
_SHIFTS = (4, 5, 6, 7)
_LEAST_GAIN = 0.0005  # bits per index


class Question(NamedTuple):
    """Is the index so many channels back, rows down and columns right at least `least`?"""

    back: int
    down: int
    right: int
    least: int

    def ask(self, planes: NDArray[np.uint8], channel: int) -> NDArray[np.bool_]:
        """Return the answers [samples, rows, columns] for one channel; no outside of it."""
        _, _, rows, columns = planes.shape
        answers = np.zeros((len(planes), rows, columns), np.bool_)
        if abs(self.down) < rows and abs(self.right) < columns:
            to, at = _overlap(self.down, rows), _overlap(self.right, columns)
            there = planes[:, channel - self.back, to[1], at[1]]
            answers[:, to[0], at[0]] = there >= self.least
        return answers

    def to_bytes(self) -> bytes:
        return bytes([self.back, self.down & 0xFF, self.right & 0xFF, self.least])


def _overlap(shift: int, size: int) -> tuple[slice, slice]:
    """The places whose neighbour exists, and the neighbours."""
    low, high = max(0, -shift), size - max(0, shift)
    return slice(low, high), slice(low + shift, high + shift)


class RangeModel(CoderModel):
    """What coder "range" starts from: for each channel neighbours to look at, and probabilities.

    Without a model the coder learns every feature anew.  `RangeModel.fit` makes one from
    calibration features; `to_bytes`, `save` and `load` move it.  docs/format.md says what is in it.

    >>> import numpy as np
    >>> import pysplitcodec as sc
    >>> ramp = np.arange(16).reshape(4, 4) // 4
    >>> features = np.float32(np.stack([ramp, ramp.T, ramp[::-1]])[None] + np.zeros((20, 1, 1, 1)))
    >>> book = sc.Codebook([0, 1, 2, 3])
    >>> model = sc.RangeModel.fit(book.quantize(features), bits=2)
    >>> model.channels, model.bits
    (3, 2)
    >>> codec = sc.Codec(book, "range", shape=(3, 4, 4), channel_axis=0, model=model)
    >>> frame = codec.encode(features[0])
    >>> np.array_equal(codec.decode(frame), features[0])
    True
    """

    coder = "range"
    __slots__ = ()

    @classmethod
    def fit(
        cls,
        indices: NDArray[np.uint8],
        bits: int,
        *,
        channel_axis: int = 0,
        budget_bytes: int | None = None,
    ) -> RangeModel:
        """Learn from calibration indices; the same indices give the same model.

        indices: uint8 [samples, ...], below 2^bits, as `Codec.quantize` gives them one by one.
        bits: width of an index, 1 to 8.
        channel_axis: of one sample; what follows from the codec's shape and channel_axis.
        budget_bytes: most bytes of the model, for flash; the coder's work shrinks with it.  None:
            what the format allows, about 1 kB a channel and less.

        Raises FeatureError on the indices, ArgumentError on the rest, also if the budget does not
        even suffice for a model that looks at no neighbours.
        """
        planes = checked_planes(indices, bits, channel_axis)
        most = _most_questions(planes.shape[1], bits, budget_bytes)
        parts = []
        for channel, questions in enumerate(_choose(planes, bits, most)):
            table = _table(_counts(planes, bits, channel, questions), bits)
            head = bytes([len(questions)]) + b"".join(each.to_bytes() for each in questions)
            parts.append(head + table)
        return cls(_best_shift(planes, bits, b"".join(parts)))


def _most_questions(channels: int, bits: int, budget_bytes: int | None) -> int:
    most = min(MOST_QUESTIONS, MOST_CONTEXT_BITS - bits)
    if budget_bytes is None:
        return most
    if isinstance(budget_bytes, bool) or not isinstance(budget_bytes, int):
        raise ArgumentError(f"budget_bytes is {budget_bytes!r}: expected an integer or None")
    sizes = [_model_size(channels, bits, count) for count in range(most + 1)]
    if budget_bytes < sizes[0]:
        raise ArgumentError(
            f"budget_bytes is {budget_bytes}: expected at least {sizes[0]} for {channels} channels "
            f"of {bits} bits"
        )
    return max(count for count, size in enumerate(sizes) if size <= budget_bytes)


def _model_size(channels: int, bits: int, questions: int) -> int:
    each = 1 + 4 * questions + ((1 << bits) - 1 << questions)
    return BYTES_AROUND + 1 + channels * each


# ------------------------------------------------------------------ choice of the questions


def _choose(planes: NDArray[np.uint8], bits: int, most: int) -> Iterator[list[Question]]:
    """Yield the questions of each channel, one by one the one that tells most."""
    each = planes.shape[2] * planes.shape[3]
    wanted = min(len(planes), max(1, -(-_SEARCHED_INDICES // each)))
    some = planes[np.arange(wanted) * len(planes) // wanted]
    alike = _likeness(some)
    leasts = _leasts(some, bits)
    for channel in range(planes.shape[1]):
        candidates = list(_candidates(channel, alike[channel], leasts))
        asked = [(each, each.ask(some, channel).ravel()) for each in candidates] if most else []
        values = some[:, channel].ravel().astype(np.int64)
        chosen: list[Question] = []
        before = _cost(np.bincount(values, minlength=1 << bits), bits)
        while len(chosen) < most:
            # the answers so far stand above the index
            room = 2 << (len(chosen) + bits)
            costs = [
                _cost(np.bincount(values + (answers * (room >> 1)), minlength=room), bits)
                for _, answers in asked
            ]
            best = int(np.argmin(costs))
            if not costs[best] < before - _LEAST_GAIN * len(values):
                break
            before = costs[best]
            values += asked[best][1] * (room >> 1)
            chosen.append(asked[best][0])
        yield chosen


def _likeness(planes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """|correlation| at the same place: [channels, channels]."""
    rows = planes.transpose(1, 0, 2, 3).reshape(planes.shape[1], -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    norms = np.sqrt((rows * rows).sum(axis=1))
    rows /= np.maximum(norms, 1e-6)[:, None]
    alike: NDArray[np.float64] = np.abs(rows @ rows.T).astype(np.float64)
    return alike


def _leasts(planes: NDArray[np.uint8], bits: int) -> Sequence[int]:
    """At most seven thresholds, that many indices between each two."""
    if (1 << bits) - 1 <= _SEARCHED_LEASTS:
        return range(1, 1 << bits)
    share = np.arange(1, _SEARCHED_LEASTS + 1) / (_SEARCHED_LEASTS + 1)
    ordered = np.sort(planes, axis=None)
    found = {max(1, int(ordered[int(at * len(ordered))])) for at in share}
    return sorted(found)


def _candidates(
    channel: int, alike: NDArray[np.float64], leasts: Sequence[int]
) -> Iterator[Question]:
    places = [(0, down, right) for down in (-2, -1) for right in (-2, -1, 0, 1, 2)]
    places += [(0, 0, -2), (0, 0, -1)]
    earlier = range(max(0, channel - 255), channel)
    ranked = sorted(earlier, key=lambda other: (-alike[other], -other))[:_SEARCHED_CHANNELS]
    for rank, other in enumerate(ranked):
        reach = (-1, 0, 1) if rank < _SEARCHED_AROUND else (0,)
        places += [(channel - other, down, right) for down in reach for right in reach]
    for back, down, right in places:
        for least in leasts:
            yield Question(back, down, right, least)


def _cost(histogram: NDArray[np.int64], bits: int) -> float:
    """Bits to code the indices of each context by its own frequencies, and to learn these."""
    counts = histogram.reshape(-1, 1 << bits).astype(np.float64)
    totals = counts.sum(axis=1)
    spread = (totals * np.log2(np.maximum(totals, 1))).sum()
    known = (counts * np.log2(np.maximum(counts, 1))).sum()
    learning = 0.5 * ((1 << bits) - 1) * np.log2(totals + 1).sum()
    return float(spread - known + learning)


# ------------------------------------------------------------------ probabilities


def _counts(
    planes: NDArray[np.uint8], bits: int, channel: int, questions: Sequence[Question]
) -> NDArray[np.int64]:
    """How often each index occurs in each context: [contexts, 2^bits]."""
    keys = planes[:, channel].astype(np.int64)
    for number, question in enumerate(questions):
        keys += question.ask(planes, channel).astype(np.int64) << (bits + number)
    room = 1 << (bits + len(questions))
    return np.bincount(keys.ravel(), minlength=room).reshape(-1, 1 << bits)


def _table(counts: NDArray[np.int64], bits: int) -> bytes:
    """A byte for each node of each context, in the order of the format."""
    columns = []
    for level in range(bits):
        halves = counts.reshape(len(counts), 1 << level, 2, -1).sum(axis=3)
        columns.append(halves)
    zeros, ones = np.moveaxis(np.concatenate(columns, axis=1), 2, 0) + 0.4
    scaled = np.floor(16 * np.log(zeros / ones) + 128)
    return bytes(np.clip(scaled, 0, 255).astype(np.uint8).ravel())


def _best_shift(planes: NDArray[np.uint8], bits: int, channels: bytes) -> bytes:
    """The model with the pace of adaptation that codes some features in the fewest bytes."""
    tried = min(len(planes), _TRIED_FEATURES)
    some = [planes[at * len(planes) // tried] for at in range(tried)]
    found: list[tuple[int, int, bytes]] = []
    for shift in _SHIFTS:
        data = framed("range", bits, planes.shape[1], bytes([shift]) + channels)
        model = core.Model(data)
        size = sum(
            len(core.coder_encode(CODERS["range"], each.shape, bits, each, 0, model)[0])
            for each in some
        )
        found.append((size, -shift, data))
    _, _, best = min(found)
    return best
