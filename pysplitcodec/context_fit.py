"""Training of `ContextModel`: one small network for each channel.  numpy alone.

The network of a channel, in the names of csrc/context.h: `taps` are neighbours, `units` weighted
sums of them (the first `linear` as they are, the others rectified), and the logit of each decision
a weighted sum of units, plus a table over the two symbols to the left.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pysplitcodec.errors import ArgumentError
from pysplitcodec.model import BYTES_AROUND

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

REACH = 2  # rows and columns that a tap may be away
MOST_TAPS = 64
MOST_BACK = 24  # earlier channels that taps are looked for in
MOST_LINEAR = 3
TAPS_PER_UNIT = 10
SELECT_ROWS, TRAIN_ROWS, ROUND_ROWS = 50_000, 400_000, 200_000
BATCH, RATE = 1024, 0.01
_ABOVE = [(-1, 0), (-1, 1), (-1, -1), (-2, 0), (-1, 2), (-1, -2), (-2, 1), (-2, -1)]
_AROUND = list(itertools.product((-1, 0, 1), repeat=2))


class Tap(NamedTuple):
    """A neighbour: channels back, rows and columns away; its level, or whether that is not 0."""

    back: int
    row: int
    column: int
    is_set: bool


@dataclass
class Network:
    """One channel's part of a model, in numbers that are not rounded yet."""

    taps: list[Tap]
    weights: Floats  # [taps, units]
    biases: Floats  # [units]
    outputs: Floats  # [units, nodes]
    lefts: Floats  # [contexts to the left, nodes]
    linear: int


class Planes:
    """Calibration indices with a margin of zeros, and where a channel's symbols are in them."""

    def __init__(self, planes: NDArray[np.uint8], bits: int) -> None:
        samples, self.channels, self.rows, self.columns = planes.shape
        self.bits = bits
        self.node_bits, self.near = min(bits, 4), min(bits, 2)
        self.nodes = (1 << self.node_bits) - 1
        wide = (samples, self.channels, self.rows + 2 * REACH, self.columns + 2 * REACH)
        padded = np.zeros(wide, np.uint8)
        padded[:, :, REACH:-REACH, REACH:-REACH] = planes >> (bits - self.node_bits)
        self._flat, self._shape = padded.ravel(), wide

    def symbols(self, channel: int, count: int, rng: np.random.Generator) -> Ints:
        """Positions of at most `count` symbols of the channel, in a random order."""
        samples, channels, rows, columns = self._shape
        n = samples * self.rows * self.columns
        chosen = rng.choice(n, min(n, count), replace=False, shuffle=True)
        sample, at = np.divmod(chosen, self.rows * self.columns)
        row, column = np.divmod(at, self.columns)
        position = ((sample * channels + channel) * rows + row + REACH) * columns + column + REACH
        found: Ints = position.astype(np.int64)
        return found

    def levels(self, at: Ints) -> Ints:
        """The upper bits of the symbols there, that a network predicts."""
        return self._flat[at].astype(np.int64)

    def gather(self, at: Ints, taps: list[Tap]) -> NDArray[np.uint8]:
        """What each tap of the symbols there is: [symbols, taps]."""
        _, _, rows, columns = self._shape
        found = np.empty((len(taps), len(at)), np.uint8)
        for values, tap in zip(found, taps):
            offset = (-tap.back * rows + tap.row) * columns + tap.column
            np.take(self._flat, at + offset, out=values)
            if tap.is_set:
                np.minimum(values, 1, out=values)
        return np.ascontiguousarray(found.T)

    def lefts(self, at: Ints) -> Ints:
        """Context of the two symbols to the left, by their top bits."""
        down = self.node_bits - self.near
        left, further = self._flat[at - 1] >> down, self._flat[at - 2] >> down
        return (left.astype(np.int64) << self.near) | further


def fit(
    planes: NDArray[np.uint8],
    bits: int,
    budget: int,
    epochs: float,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> bytes:
    """The body of a model of at most `budget` bytes."""
    data = Planes(planes, bits)
    candidates = [_candidates(data, channel) for channel in range(data.channels)]
    units, most = _shares(data, [len(taps) for taps in candidates], budget)
    body = b""
    for channel, taps in enumerate(candidates):
        rng = np.random.default_rng([seed, channel])
        network = _train(data, channel, taps, units, most, epochs, rng)
        body += _rounded(data, channel, network, rng)
        if progress is not None:
            progress(channel + 1, data.channels)
    return body


def _candidates(data: Planes, channel: int) -> list[Tap]:
    asks = (False,) if data.bits == 1 else (False, True)
    near = [Tap(0, row, column, ask) for ask in asks for row, column in _ABOVE]
    back = range(1, min(channel, MOST_BACK) + 1)
    return near + [
        Tap(k, row, column, ask) for k in back for ask in asks for row, column in _AROUND
    ]


def _size(data: Planes, taps: int, units: int) -> int:
    """Bytes of one channel's part."""
    return 4 + taps * (2 + units) + 2 * units + data.nodes * (2 * units + (1 << 2 * data.near))


def _shares(data: Planes, candidates: list[int], budget: int) -> tuple[int, int]:
    """Units, and the most taps of a channel, that the budget suffices for."""
    fitting: list[tuple[int, int]] = []
    for units in (8, 4, 2, 1):
        for most in range(MOST_TAPS, 0, -1):
            if sum(_size(data, min(n, most), units) for n in candidates) <= budget:
                fitting.append((units, most))
                break
    # More units pay only where there are taps enough for each: measured at 1 and 2 bits.  16 of
    # them, as the format allows, gave 0.7 % fewer bytes and took a fifth longer than 8.
    for units, most in fitting:
        if most >= min(TAPS_PER_UNIT * units, MOST_TAPS):
            return units, most
    if not fitting:
        least = sum(_size(data, min(n, 1), 1) for n in candidates) + BYTES_AROUND
        raise ArgumentError(
            f"budget_bytes is {budget + BYTES_AROUND}: expected at least {least} for "
            f"{data.channels} channels of {data.bits} bits"
        )
    return fitting[-1]


def _decisions(data: Planes, levels: Ints) -> tuple[Ints, Floats]:
    """Node (less 1) and bit of each decision: [symbols, node_bits]."""
    steps = range(data.node_bits)
    path = np.stack([(1 << k) - 1 + (levels >> (data.node_bits - k)) for k in steps], axis=1)
    bits = np.stack([levels >> (data.node_bits - 1 - k) & 1 for k in steps], axis=1)
    return path, bits.astype(np.float32)


def _at_nodes(path: Ints, bits: Floats, nodes: int) -> Iterator[tuple[int, Ints, Floats]]:
    """For each node the symbols that come by, and their bits there."""
    for node in range(nodes):
        step = (node + 1).bit_length() - 1
        here = np.flatnonzero(path[:, step] == node)
        yield node, here, bits[here, step]


def _regress(
    x: Floats, bits: Floats, weights: Floats, steps: int, ridge: float
) -> tuple[Floats, Any]:
    """Newton's steps of a logistic regression from `weights`, and the Hessian at the end."""
    hessian: Any = None
    for _ in range(steps):
        chance = _logistic(np.clip(x @ weights, -10, 10))
        spread = np.maximum(chance * (1 - chance), 2e-3).astype(np.float32)
        hessian = (x * spread[:, None]).T @ x + ridge * np.eye(x.shape[1])
        gradient = (x.T @ (chance - bits) + ridge * weights).astype(np.float64)
        change = np.linalg.solve(hessian, gradient).astype(np.float32)
        weights = weights - change
        if np.abs(change).max() < 2e-3:
            break
    return weights, hessian


def _logistic(x: Any) -> Any:
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # without overflow


def _one_hot(data: Planes, lefts: Ints) -> Floats:
    return np.eye(1 << 2 * data.near, dtype=np.float32)[lefts]


def _choose(
    data: Planes, channel: int, taps: list[Tap], most: int, rng: np.random.Generator
) -> tuple[list[Tap], Floats, Floats, list[Floats]]:
    """Keep the taps that logistic regressions would miss most.

    Gives them, their means and deviations, and the regressions' weights of the standardised taps
    for the first nodes.  What a weight is worth is its square over its variance (the Wald
    statistic): to leave out the least and fit the rest again is backward elimination.
    """
    at = data.symbols(channel, SELECT_ROWS, rng)
    raw = data.gather(at, taps).astype(np.float32)
    mean, deviation = raw.mean(axis=0), raw.std(axis=0) + np.float32(1e-3)
    lefts = _one_hot(data, data.lefts(at))
    x = np.hstack([(raw - mean) / deviation, lefts])
    decisions = list(_at_nodes(*_decisions(data, data.levels(at)), min(data.nodes, MOST_LINEAR)))
    kept = np.arange(len(taps))
    weights = [np.zeros(x.shape[1], np.float32) for _ in decisions]
    while True:
        columns = np.append(kept, np.arange(len(taps), x.shape[1]))
        worth = np.zeros(len(kept))
        part = x[:, columns]
        for node, here, bits in decisions:
            if len(here) < 100:
                continue
            found, hessian = _regress(part[here], bits, weights[node][columns], 3, 2.0)
            weights[node][columns] = found
            worth += (found**2 / np.diag(np.linalg.inv(hessian)))[: len(kept)]
        if len(kept) <= most:
            break
        kept = np.sort(kept[np.argsort(-worth)[: max(most, int(len(kept) * 0.6))]])
    chosen = [taps[i] for i in kept]
    return chosen, mean[kept], deviation[kept], [found[kept] for found in weights]


def _train(
    data: Planes,
    channel: int,
    candidates: list[Tap],
    units: int,
    most: int,
    epochs: float,
    rng: np.random.Generator,
) -> Network:
    """Adam on the mean cost of a symbol; the learning rate rises for a twentieth and then falls."""
    taps, mean, deviation, start = _choose(data, channel, candidates, most, rng)
    at = data.symbols(channel, TRAIN_ROWS, rng)
    inputs, lefts = data.gather(at, taps), data.lefts(at)
    path, bits = _decisions(data, data.levels(at))
    linear = min(units, len(start))
    weights = rng.standard_normal((len(taps), units)).astype(np.float32) * 0.5 / len(taps) ** 0.5
    outputs = np.zeros((units, data.nodes), np.float32)
    table = np.zeros((1 << 2 * data.near, data.nodes), np.float32)
    outputs[0, linear:] = 0.5
    for node, found in enumerate(start[:linear]):
        weights[:, node] = found
        outputs[node, node] = 1
    for node, _, here in _at_nodes(path, bits, data.nodes):
        ones = (here.sum() + 1) / (len(here) + 2)
        table[:, node] = np.log(ones / (1 - ones))
    biases = np.zeros(units, np.float32)
    parts = [weights, biases, outputs, table]
    # what regression has found needs less of a change than what starts at random
    slow = np.where(np.arange(units) < linear, np.float32(0.1), np.float32(1))
    rates = [slow, slow, np.float32(1), np.float32(1)]
    means, squares = ([np.zeros_like(part) for part in parts] for _ in range(2))
    steps = int(epochs * len(at) / BATCH)
    scale = 1 / deviation
    hot = np.eye(len(table), dtype=np.float32)
    for step in range(1, steps + 1):
        rate = RATE * min(20 * step / steps, (steps + 1 - step) / steps)
        some = rng.integers(0, len(at), BATCH)
        x = (inputs[some] - mean) * scale
        sums = x @ weights + biases
        values = sums.copy()
        np.maximum(values[:, linear:], 0, out=values[:, linear:])
        left = hot[lefts[some]]
        logits = np.take_along_axis(values @ outputs + left @ table, path[some], axis=1)
        errors = ((_logistic(logits) - bits[some]) / BATCH).astype(np.float32)
        pull = np.zeros((BATCH, data.nodes), np.float32)
        np.put_along_axis(pull, path[some], errors, axis=1)
        back = pull @ outputs.T
        back[:, linear:] *= sums[:, linear:] > 0
        gradients = [x.T @ back, back.sum(axis=0), values.T @ pull, left.T @ pull]
        for part, gradient, first, second, own in zip(parts, gradients, means, squares, rates):
            first += 0.1 * (gradient - first)
            second += 0.01 * (gradient**2 - second)
            moved = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
            part -= (rate * own * moved).astype(np.float32)
    weights = weights * scale[:, None]
    return Network(taps, weights, biases - mean @ weights, outputs, table, linear)


def _rounded(data: Planes, channel: int, network: Network, rng: np.random.Generator) -> bytes:
    """The channel's bytes; outputs and table fitted anew to the rounded units."""
    taps, linear = network.taps, network.linear
    most = np.array([1 if tap.is_set else data.nodes for tap in taps])
    reach = np.abs(network.weights).T @ most + np.abs(network.biases)
    scale = np.minimum(
        127 / np.maximum(np.abs(network.weights).max(axis=0, initial=0), 1e-6),
        30000 / np.maximum(reach, 1e-6),
    )
    weights = np.rint(network.weights * scale).astype(np.int64)
    biases = np.rint(np.clip(network.biases * scale, -30000, 30000)).astype(np.int64)
    over = np.abs(weights).T @ most + np.abs(biases) > 32767  # rounding up, of many tiny ones
    weights[:, over] //= 2
    biases[over] //= 2

    at = data.symbols(channel, ROUND_ROWS, rng)
    sums = data.gather(at, taps).astype(np.float32) @ weights.astype(np.float32) + biases
    sums[:, linear:] = np.maximum(sums[:, linear:], 0)
    size = np.abs(sums).max(axis=0, initial=1)
    x = np.hstack([sums / size, _one_hot(data, data.lefts(at))]).astype(np.float32)
    start = np.vstack([network.outputs * (size / scale)[:, None], network.lefts])
    fitted = start.astype(np.float32)
    for node, here, bits in _at_nodes(*_decisions(data, data.levels(at)), data.nodes):
        if len(here) >= 100:
            fitted[:, node], _ = _regress(x[here], bits, fitted[:, node], 6, 0.1)
    units = len(size)
    outputs = fitted[:units] / size[:, None] * 256
    shift = 16
    while shift > 1 and (
        np.abs(outputs).sum(axis=0).max() * 2**shift > 65000
        or np.abs(outputs).max() * 2**shift > 32767
    ):
        shift -= 1
    bound = min(32767, 65000 // units) if shift == 1 else 32767
    whole = np.clip(np.rint(outputs * 2**shift), -bound, bound)
    table = np.clip(np.rint(fitted[units:] * 16), -127, 127).astype(np.int8)

    places = b"".join(
        struct.pack("<2B", tap.back, (tap.row + REACH) * 5 + tap.column + REACH + 128 * tap.is_set)
        for tap in taps
    )
    body: bytes = (
        struct.pack("<4B", len(taps), units, linear, shift)
        + places
        + weights.astype(np.int8).tobytes()
        + biases.astype("<i2").tobytes()
        + whole.T.astype("<i2").tobytes()
        + table.T.tobytes()
    )
    return body
