"""What quantising a layer does to a model's answers: QPART, Eq. 18 to 22, measured.

Needs torch.  The model classifies: its output is [n, classes].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from pysplitcodec.codebook import Codebook
from pysplitcodec.errors import ArgumentError
from pysplitcodec.splitting import Split

_BATCH = 500
_FITTED = (3, 4, 5, 6)  # widths at which a layer's noise is measured
_WIDEST, _STEP = 10.0, 0.5  # of the search for a layer's robustness, in bits
_LEAST = 1e-30  # of a squared noise, so that it has a logarithm


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


class Classifier:
    """A model and the calibration samples that its noise is measured on.

    model: a module, put into eval().  inputs: as it takes them, [n, ...]; targets: classes, [n].
    Raises ArgumentError for other shapes, or no samples.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
        if len(inputs) != len(targets) or not len(inputs):
            raise ArgumentError(
                f"inputs and targets are {len(inputs)} and {len(targets)}: expected as many, and "
                "one at least"
            )
        self.model, self.inputs, self.targets = model.eval(), inputs, targets
        self.plain = self.answers({})
        if self.plain.dim() != 2:
            raise ArgumentError(
                f"the model gives {list(self.plain.shape)}: expected [samples, classes]"
            )
        self.accuracy = self.accuracy_of(self.plain)

    @property
    def layers(self) -> dict[str, Tensor]:
        """Weights of layers by name, in the model's order: what has two dimensions or more."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.dim() >= 2}

    def answers(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The outputs with some weights replaced: [n, classes]."""
        with torch.no_grad():
            given = self.inputs.split(_BATCH)
            return torch.cat([functional_call(self.model, dict(weights), (x,)) for x in given])

    def features(self, head: nn.Module, weights: Mapping[str, Tensor]) -> Tensor:
        """What a head with some weights replaced gives: [n, ...]."""
        with torch.no_grad():
            given = self.inputs.split(_BATCH)
            return torch.cat([functional_call(head, dict(weights), (x,)) for x in given])

    def tail_answers(self, tail: nn.Module, features: Tensor) -> Tensor:
        """The outputs for features."""
        with torch.no_grad():
            return torch.cat([tail(x) for x in features.split(_BATCH)])

    def accuracy_of(self, answers: Tensor) -> float:
        """The share of samples that are classified rightly."""
        return float((answers.argmax(1) == self.targets).float().mean())

    def drop(self, answers: Tensor) -> float:
        """How much less accurate answers are than the model's."""
        return self.accuracy - self.accuracy_of(answers)

    def noise(self, answers: Tensor) -> float:
        """The mean squared norm of what differs from the model's answers (Eq. 18)."""
        return float((answers - self.plain).square().sum(1).mean())

    def adversarial_noise(self) -> float:
        """The mean squared norm of the least noise on the answers that changes a class.

        sigma* of Eq. 22: halfway between the two largest outputs both are as large.
        """
        largest = self.plain.topk(2, 1).values
        return float(((largest[:, 0] - largest[:, 1]) ** 2 / 2).mean())

    def measure(self, drops: Sequence[float]) -> list[LayerNoise]:
        """The noise of every layer's weights, and their robustness (Algorithm 1, lines 6 to 11).

        drops: accuracy that may be lost, as shares.  Raises ArgumentError for drops that are not
        between 0 and 1.
        """

        def measure(name: str, weight: Tensor) -> LayerNoise:
            return self._measure(name, weight, lambda w: self.answers({name: w}), drops)

        return [measure(name, weight) for name, weight in self.layers.items()]

    def measure_feature(
        self, name: str, halves: Split[nn.Module], drops: Sequence[float]
    ) -> LayerNoise:
        """The same of the feature at a split point, whose size is that of one sample."""
        features = self.features(halves.head, {})
        found = self._measure(name, features, lambda f: self.tail_answers(halves.tail, f), drops)
        return replace(found, size=features[0].numel())

    def _measure(
        self,
        name: str,
        values: Tensor,
        answers: Callable[[Tensor], Tensor],
        drops: Sequence[float],
    ) -> LayerNoise:
        if not drops or not all(0 < drop < 1 for drop in drops):
            raise ArgumentError(f"drops are {list(drops)}: expected numbers between 0 and 1")
        logs = [
            np.log(max(self.noise(answers(even_grid(values, bits))), _LEAST)) + bits * np.log(4)
            for bits in _FITTED
        ]
        adversarial = self.adversarial_noise()
        thresholds = self._thresholds(values, answers, drops)
        return LayerNoise(
            name,
            values.numel(),
            float(np.exp(np.mean(logs))),
            {drop: noise / adversarial for drop, noise in thresholds.items()},
        )

    def _thresholds(
        self, values: Tensor, answers: Callable[[Tensor], Tensor], drops: Sequence[float]
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
            noise, drop = max(self.noise(given), _LEAST), self.drop(given)
            for wanted in drops:
                if wanted not in found and drop >= wanted:
                    found[wanted] = float(np.sqrt(before * noise))  # between good and bad
            before = noise
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
