"""What QPART asks of a classifier, whatever runs it: answers with other weights, and its parts.

Needs torch, in whose tensors samples, weights and features are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from pysplitcodec.errors import ArgumentError
from pysplitcodec.splitting.cuts import Split
from pysplitcodec.splitting.layers import Layers, read_layers
from pysplitcodec.splitting.model_graph import ModelGraph

Weights = Mapping[str, Tensor]


class CalibratedClassifier(ABC):
    """A model that classifies, and the calibration samples that its noise is measured on.

    inputs: as the model takes them, [n, ...]; targets: classes, [n].  plain: the model's answers,
    [n, classes].  Raises ArgumentError for other shapes, or no samples.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        if len(inputs) != len(targets) or not len(inputs):
            raise ArgumentError(
                f"inputs and targets are {len(inputs)} and {len(targets)}: expected as many, and "
                "one at least"
            )
        self.inputs, self.targets = inputs, targets
        self.plain = self.answers({})
        if self.plain.dim() != 2:
            raise ArgumentError(
                f"the model gives {list(self.plain.shape)}: expected [samples, classes]"
            )
        self._right = self._count_right(self.plain)
        self.accuracy = self._right / len(targets)

    @property
    @abstractmethod
    def layers(self) -> dict[str, Tensor]:
        """Weights of layers by name, in the model's order: what has two dimensions or more."""

    @property
    @abstractmethod
    def float_bytes(self) -> int:
        """The size of the model as it would be sent in float32."""

    @abstractmethod
    def answers(self, weights: Weights, inputs: Tensor | None = None) -> Tensor:
        """The outputs with some weights replaced, [n, classes]; inputs: other samples."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input; ArgumentError if an operator's are not known."""
        layers = read_layers(self._graph, [])
        return _known_macs(layers, range(len(layers.operators)))

    def cut(self, splits: Sequence[str] | None = None) -> list[Part]:
        """The classifier cut at split points.

        splits: their names, as `list_cuts` has them; by default one for each number of layers on
        the device, the last before the next layer.  Raises SplitError for split points that are
        none, ArgumentError for operators whose multiply-accumulates are not known, and where a
        TFLite model's feature is not in float32, [1, ...].
        """
        names = self._last_cuts() if splits is None else splits
        halves = [self._graph.split(name) for name in names]
        layers = read_layers(self._graph, [split.cut for split in halves])
        return [
            self._part(
                split,
                _known_macs(layers, layers.heads[number]),
                _known_macs(layers, layers.tail(number)),
            )
            for number, split in enumerate(halves)
        ]

    def accuracy_of(self, answers: Tensor) -> float:
        """The share of samples that are classified rightly."""
        return self._count_right(answers) / len(self.targets)

    def drop(self, answers: Tensor) -> float:
        """How much less accurate answers are than the model's."""
        return (self._right - self._count_right(answers)) / len(self.targets)

    def _count_right(self, answers: Tensor) -> int:
        return int((answers.argmax(1) == self.targets).sum())

    @property
    @abstractmethod
    def _graph(self) -> ModelGraph[Any]: ...

    @abstractmethod
    def _last_cuts(self) -> list[str]:
        """Of the cuts with the same layers before them, the last."""

    @abstractmethod
    def _part(self, split: Split[Any], head_macs: int, tail_macs: int) -> Part: ...


@dataclass(frozen=True)
class Part(ABC):
    """A classifier cut at a split point.

    features: of the calibration samples, [n, ...].  head_macs, tail_macs: multiply-accumulates of
    one input.  layer_names: those of the classifier's layers that the head has.  channel_axis: of
    features with places, such as maps.
    """

    channel_axis: ClassVar[int]

    name: str
    features: Tensor
    head_macs: int
    tail_macs: int
    layer_names: Sequence[str]

    @property
    @abstractmethod
    def float_bytes(self) -> int:
        """The size of the head as it would be sent in float32."""

    @abstractmethod
    def features_of(self, inputs: Tensor, weights: Weights) -> Tensor:
        """What the head gives for inputs [n, ...], with some weights replaced."""

    @abstractmethod
    def answers_to(self, features: Tensor) -> Tensor:
        """What the tail gives for features [n, ...]: [n, classes]."""

    @abstractmethod
    def packed(self, bits: Mapping[str, int], coder: str = "pack") -> bytes:
        """The head as it is sent, with layers in 1 to 8 bits; coder: see `pack_weights`."""

    @abstractmethod
    def unpacked(self, data: bytes) -> Weights:
        """The weights that a device gets of what `packed` made."""


def _known_macs(layers: Layers, operators: Iterable[int]) -> int:
    found = layers.macs(operators)
    if found is None:
        raise ArgumentError("the model has operators whose multiply-accumulates are not known")
    return found
