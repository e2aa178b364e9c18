"""QPART whole: bits of each layer for every split point and accuracy, offline, and serving them.

Algorithm 1 with its closed form put right (`bit_widths.water_filling`), and its budget, which the
paper does not give, found by measuring: the largest at which calibration samples lose no more than
they may.  Algorithm 2 looks patterns up and takes the split point of the least objective (Eq. 17).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pysplitcodec.bisection import least_that_keeps
from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.bit_widths import added_noise, exact_widths, integer_widths
from pysplitcodec.plan.calibrated import CalibratedClassifier, Part
from pysplitcodec.plan.classifier import Classifier
from pysplitcodec.plan.patterns import Pattern, at_drop, load_patterns, save_patterns
from pysplitcodec.plan.qpart_noise import check_drops, even_grid, measure, measure_feature
from pysplitcodec.plan.tflite_classifier import TFLiteClassifier

__all__ = [
    "Classifier",
    "Pattern",
    "TFLiteClassifier",
    "at_drop",
    "find_patterns",
    "load_patterns",
    "save_patterns",
]


def find_patterns(
    classifier: CalibratedClassifier,
    drops: Sequence[float],
    *,
    splits: Sequence[str] | None = None,
    widths: Widths = "rounded",
    coder: str = "pack",
    progress: Callable[[str], None] | None = None,
) -> list[Pattern]:
    """Algorithm 1: for every split point and accuracy drop, the fewest bits that keep it.

    drops: accuracy that may be lost, as shares; QPART has five.  splits: as for its `cut`.  widths:
    "rounded", the closed form; "exact", `exact_widths`; "uniform", the same in all layers, which
    the others try as well, so that they never send more bits.  coder: of the weights' frames, as
    for `pack_weights`; head_bytes are what it makes.  progress: told of each split point.

    Split points that lose more than a drop even at 8 bits have no pattern for it.  Raises
    ArgumentError for drops that are not between 0 and 1 and for other `widths`, SplitError for
    split points that are none, MissingDependencyError without safetensors, or without SciPy if
    "exact".
    """
    if widths not in _SOLVE:
        raise ArgumentError(f"widths is {widths!r}: expected one of {', '.join(_SOLVE)}")
    solve = _SOLVE[widths]
    check_drops(drops)
    noises = {} if solve is None else {one.name: one for one in measure(classifier, drops)}
    plain = classifier.layers
    found = []
    for part in classifier.cut(splits):
        if progress is not None:
            progress(part.name)
        names = part.layer_names
        elements = part.features[0].numel()
        sizes = np.array([*(plain[name].numel() for name in names), elements])
        uniform = [(bits,) * len(sizes) for bits in range(_LOW, _HIGH + 1)]
        ladders = {drop: [uniform] for drop in drops}
        if solve is not None:
            layers = [noises[name] for name in names]
            layers.append(measure_feature(classifier, part, drops))
            for drop in drops:
                shares = [layer.share(drop) for layer in layers]
                ladders[drop].append(_ladder(sizes, shares, solve))
        for drop, (bits, measured_drop) in _fewest(classifier, part, sizes, ladders).items():
            weight_bits = dict(zip(names, bits))
            found.append(
                Pattern(
                    part.name,
                    drop,
                    measured_drop,
                    weight_bits,
                    bits[-1],
                    elements,
                    len(part.packed(weight_bits, coder)),
                    part.head_macs,
                    part.tail_macs,
                )
            )
    return found


def _ladder(sizes: NDArray[np.int64], noises: Sequence[float], solve: _Solver) -> _Ladder:
    """Widths for ever smaller budgets of noise: the one that goes with a drop is not known."""
    most, least = (added_noise(noises, np.full(len(sizes), b)) for b in (_LOW, _HIGH))
    found = (
        solve(sizes, noises, max(budget, least), _LOW, _HIGH)
        for budget in np.geomspace(most, least, _BUDGETS)
    )
    return list(dict.fromkeys(tuple(int(bits) for bits in widths) for widths in found))


def _fewest(
    classifier: CalibratedClassifier,
    part: Part,
    sizes: NDArray[np.int64],
    ladders: Mapping[float, Sequence[_Ladder]],
) -> dict[float, tuple[tuple[int, ...], float]]:
    """By drop, of the widths on its ladders the fewest bits that keep it, and the drop measured."""
    plain = classifier.layers

    @functools.cache
    def measured(widths: tuple[int, ...]) -> float:
        given = zip(part.layer_names, widths)
        coarse = {name: even_grid(plain[name], bits) for name, bits in given}
        sent = even_grid(part.features_of(classifier.inputs, coarse), widths[-1])
        return classifier.drop(part.answers_to(sent))

    def least(ladder: _Ladder, drop: float) -> int | None:
        return least_that_keeps(0, len(ladder) - 1, lambda rung: measured(ladder[rung]) <= drop)

    found: dict[float, tuple[tuple[int, ...], float]] = {}
    for drop in sorted(ladders):
        # what loses less is allowed as well
        kept = [widths for widths, _ in found.values()]
        for ladder in ladders[drop]:
            rung = least(ladder, drop)
            if rung is not None:
                kept.append(ladder[rung])
        if kept:
            widths = min(kept, key=lambda each: (sizes @ each, each))
            found[drop] = widths, measured(widths)
    return found


Widths = Literal["rounded", "exact", "uniform"]
_Ladder = list[tuple[int, ...]]
_Solver = Callable[..., "NDArray[np.int64]"]
_LOW, _HIGH = 1, 8  # bits
_BUDGETS = 32  # for each drop, that are tried
_SOLVE: dict[str, _Solver | None] = {
    "rounded": integer_widths,
    "exact": exact_widths,
    "uniform": None,
}
