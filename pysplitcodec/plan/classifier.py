"""A model that classifies, calibration samples, and the model cut at its split points.

Needs torch.  The model's output is [n, classes].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from pysplitcodec.errors import ArgumentError
from pysplitcodec.splitting import read_graph
from pysplitcodec.splitting.layers import read_layers
from pysplitcodec.splitting.model_graph import ModelGraph

Weights = Mapping[str, Tensor]

_BATCH = 500


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

    def answers(self, weights: Weights) -> Tensor:
        """The outputs with some weights replaced: [n, classes]."""
        return run(self.model, self.inputs, weights)

    def accuracy_of(self, answers: Tensor) -> float:
        """The share of samples that are classified rightly."""
        return float((answers.argmax(1) == self.targets).float().mean())

    def drop(self, answers: Tensor) -> float:
        """How much less accurate answers are than the model's."""
        return self.accuracy - self.accuracy_of(answers)


def run(module: nn.Module, inputs: Tensor, weights: Weights | None = None) -> Tensor:
    """What a module gives for inputs [n, ...], with some weights replaced, batch by batch."""
    replaced = dict(weights or {})
    with torch.no_grad():
        given = inputs.split(_BATCH)
        return torch.cat([functional_call(module, replaced, (some,)) for some in given])


@dataclass(frozen=True)
class Part:
    """A classifier cut at a split point.

    features: of the calibration samples, [n, ...].  head_macs, tail_macs: multiply-accumulates of
    one input.
    """

    name: str
    head: nn.Module
    tail: nn.Module
    features: Tensor
    head_macs: int
    tail_macs: int

    @property
    def head_weights(self) -> dict[str, NDArray[Any]]:
        """All that the head is made of, by name: weights, biases, statistics."""
        return {name: one.detach().numpy() for name, one in self.head.state_dict().items()}


def cut(classifier: Classifier, splits: Sequence[str] | None = None) -> list[Part]:
    """A classifier cut at split points.

    splits: their names, as `list_cuts` has them; by default one for each number of layers on the
    device, the last before the next layer.  Raises SplitError for split points that are none,
    ArgumentError for operators whose multiply-accumulates are not known.
    """
    example = classifier.inputs[:1]
    graph = read_graph(classifier.model, example)
    every_macs = count_macs(classifier.model, example)
    found = []
    for name in _last_cuts(graph, classifier) if splits is None else splits:
        halves = graph.split(name)
        head_macs = count_macs(halves.head, example)
        features = run(halves.head, classifier.inputs)
        found.append(
            Part(name, halves.head, halves.tail, features, head_macs, every_macs - head_macs)
        )
    return found


def _last_cuts(graph: ModelGraph[nn.Module], classifier: Classifier) -> list[str]:
    """Of the cuts with the same weights before them, the last."""
    last = {}
    for point in graph.list_cuts():
        own = dict(graph.split(point).head.named_parameters())
        names = tuple(name for name in classifier.layers if name in own)
        if names:
            last[names] = point.name
    return list(last.values())


def count_macs(module: nn.Module, example: Tensor) -> int:
    """Multiply-accumulates of one input; ArgumentError if an operator's are not known."""
    layers = read_layers(read_graph(module, example), [])
    found = layers.macs(range(len(layers.operators)))
    if found is None:
        raise ArgumentError("the model has operators whose multiply-accumulates are not known")
    return found
