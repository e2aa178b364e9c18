"""What quantising a layer does to a model's answers: QPART, Eq. 18 to 22, measured.

Needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pysplitcodec.codebook import Codebook
from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.calibrated import CalibratedClassifier, Part

_FITTED = (3, 4, 5, 6)  # widths at which a layer's noise is measured
_WIDEST, _STEP = 10.0, 0.5  # of the search for a layer's robustness, in bits
_LEAST = 1e-30  # of a squared noise, so that it has a logarithm
# Of each classifier, for it takes longer than all that is done with it.
_MEASURED: WeakKeyDictionary[CalibratedClassifier, dict[Any, LayerNoise]] = WeakKeyDictionary()


@dataclass(frozen=True)
class LayerNoise:
    """How a layer's quantisation disturbs the answers.

    size: numbers in it.  at_0_bits: s of Eq. 18, the squared noise on the last layer's output at
    0 bits, of which a bit takes three quarters.  robustness: rho of Eq. 22 by accuracy drop: the
    squared noise at which the drop is that large, over the adversarial noise.
    """

    name: str
    size: int
    at_0_bits: float
    robustness: Mapping[float, float]

    def share(self, drop: float) -> float:
        """What the layer adds to the degradation at 0 bits: s / rho (Eq. 20)."""
        return self.at_0_bits / self.robustness[drop]


def check_drops(drops: Sequence[float]) -> None:
    """Raise ArgumentError for drops that are not between 0 and 1, or none."""
    if not drops or not all(0 < drop < 1 for drop in drops):
        raise ArgumentError(f"drops are {list(drops)}: expected numbers between 0 and 1")


def measure(classifier: CalibratedClassifier, drops: Sequence[float]) -> list[LayerNoise]:
    """The noise of every layer's weights, and their robustness (Algorithm 1, lines 6 to 11).

    drops: accuracy that may be lost, as shares.  Measured once: a model that is trained further
    needs another classifier.  Raises ArgumentError as `check_drops`.
    """
    check_drops(drops)

    def one(name: str, weight: Tensor) -> LayerNoise:
        def answers(values: Tensor) -> Tensor:
            return classifier.answers({name: values})

        return _measure(classifier, "weights", name, weight, answers, drops)

    return [one(name, weight) for name, weight in classifier.layers.items()]


def measure_feature(
    classifier: CalibratedClassifier, part: Part, drops: Sequence[float]
) -> LayerNoise:
    """The same of the feature at a split point, whose size is that of one sample."""
    found = _measure(classifier, "feature", part.name, part.features, part.answers_to, drops)
    return replace(found, size=part.features[0].numel())


def noise(classifier: CalibratedClassifier, answers: Tensor) -> float:
    """The mean squared norm of what differs from the model's answers (Eq. 18)."""
    return float((answers - classifier.plain).square().sum(1).mean())


def adversarial_noise(classifier: CalibratedClassifier) -> float:
    """The mean squared norm of the least noise on the answers that changes a class.

    sigma* of Eq. 22: halfway between the two largest outputs both are as large.
    """
    largest = classifier.plain.topk(2, 1).values
    return float(((largest[:, 0] - largest[:, 1]) ** 2 / 2).mean())


def _measure(
    classifier: CalibratedClassifier,
    kind: str,
    name: str,
    values: Tensor,
    answers: Callable[[Tensor], Tensor],
    drops: Sequence[float],
) -> LayerNoise:
    known = _MEASURED.setdefault(classifier, {})
    key = kind, name, tuple(drops)
    if key not in known:
        known[key] = _measured(classifier, name, values, answers, drops)
    return known[key]


def _measured(
    classifier: CalibratedClassifier,
    name: str,
    values: Tensor,
    answers: Callable[[Tensor], Tensor],
    drops: Sequence[float],
) -> LayerNoise:
    logs = [
        np.log(max(noise(classifier, answers(even_grid(values, bits))), _LEAST)) + bits * np.log(4)
        for bits in _FITTED
    ]
    adversarial = adversarial_noise(classifier)
    thresholds = _thresholds(classifier, values, answers, drops)
    return LayerNoise(
        name,
        values.numel(),
        float(np.exp(np.mean(logs))),
        {drop: threshold / adversarial for drop, threshold in thresholds.items()},
    )


def _thresholds(
    classifier: CalibratedClassifier,
    values: Tensor,
    answers: Callable[[Tensor], Tensor],
    drops: Sequence[float],
) -> dict[float, float]:
    """By drop, the squared noise on the answers at which it is reached.

    Even noise as wide as the steps of a grid, of fewer and fewer bits; the same each time.
    """
    generator = torch.Generator().manual_seed(0)
    shape = torch.rand(values.shape, generator=generator) - 0.5
    width = float(values.max() - values.min())
    found: dict[float, float] = {}
    before = _LEAST
    for bits in np.arange(_WIDEST, 0, -_STEP):
        given = answers(values + shape * width / (2**bits - 1))
        now = max(noise(classifier, given), _LEAST)
        for wanted in drops:
            if wanted not in found and classifier.drop(given) >= wanted:
                found[wanted] = float(np.sqrt(before * now))  # between good and bad
        before = now
        if len(found) == len(drops):
            break
    # what never loses so much is held to the most noise that was tried
    return {drop: found.get(drop, before) for drop in drops}


def even_grid(values: Tensor, bits: int) -> Tensor:
    """Values at the nearest of 2 ** bits even levels from the least to the greatest (Eq. 9, 10).

    As `packed_weights` and the codec have it; values that are all equal stay.
    """
    array: NDArray[np.float32] = values.detach().float().contiguous().numpy()
    if array.size == 0 or array.min() == array.max():
        return values
    book = Codebook.fit(array, bits, "minmax")
    return torch.from_numpy(book.centroids[book.quantize(array)]).view(values.shape)
