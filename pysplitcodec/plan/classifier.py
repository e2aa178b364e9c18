"""A PyTorch module that classifies, for QPART.  Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pysplitcodec.plan.calibrated import CalibratedClassifier, Part, Weights
from pysplitcodec.plan.packed_weights import pack_weights, unpack_weights
from pysplitcodec.splitting import read_graph
from pysplitcodec.splitting.cuts import Split
from pysplitcodec.splitting.model_graph import ModelGraph

_BATCH = 64  # larger ones of images do not fit a cache
_FLOAT_BYTES = 4


class Classifier(CalibratedClassifier):
    """A module and calibration samples.

    model: put into eval(); it takes one tensor.  Otherwise as `CalibratedClassifier`.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
        self.model = model.eval()
        super().__init__(inputs, targets)

    @property
    def layers(self) -> dict[str, Tensor]:
        """Parameters by name that have two dimensions or more."""
        return {n: p.detach() for n, p in self.model.named_parameters() if p.dim() >= 2}

    @property
    def float_bytes(self) -> int:
        """Parameters, biases and statistics in float32."""
        return _float_bytes(self.model)

    def answers(self, weights: Weights, inputs: Tensor | None = None) -> Tensor:
        """As `CalibratedClassifier.answers`."""
        return run(self.model, self.inputs if inputs is None else inputs, weights)

    @cached_property
    def _graph(self) -> ModelGraph[nn.Module]:
        return read_graph(self.model, self.inputs[:1])

    def _last_cuts(self) -> list[str]:
        last = {
            tuple(self._layer_names(self._graph.split(point).head)): point.name
            for point in self._graph.list_cuts()
        }
        return [name for layers, name in last.items() if layers]

    def _layer_names(self, head: nn.Module) -> list[str]:
        own = dict(head.named_parameters())
        return [name for name in self.layers if name in own]

    def _part(self, split: Split[nn.Module], head_macs: int, tail_macs: int) -> ModulePart:
        head, tail = split
        return ModulePart(
            split.cut.name,
            run(head, self.inputs),
            head_macs,
            tail_macs,
            self._layer_names(head),
            head,
            tail,
        )


@dataclass(frozen=True)
class ModulePart(Part):
    """A module cut at a split point.  What is sent of the head are its weights."""

    channel_axis: ClassVar[int] = 1

    head: nn.Module
    tail: nn.Module

    @property
    def float_bytes(self) -> int:
        """Parameters, biases and statistics in float32."""
        return _float_bytes(self.head)

    def features_of(self, inputs: Tensor, weights: Weights) -> Tensor:
        """As `Part.features_of`."""
        return run(self.head, inputs, weights)

    def answers_to(self, features: Tensor) -> Tensor:
        """As `Part.answers_to`."""
        return run(self.tail, features)

    def packed(self, bits: Mapping[str, int], coder: str = "pack") -> bytes:
        """What `pack_weights` makes of the head's state."""
        state = {name: one.detach().numpy() for name, one in self.head.state_dict().items()}
        return pack_weights(state, bits, coder=coder)

    def unpacked(self, data: bytes) -> Weights:
        """All of the head's state."""
        return {name: torch.from_numpy(array) for name, array in unpack_weights(data).items()}


def run(module: nn.Module, inputs: Tensor, weights: Weights | None = None) -> Tensor:
    """What a module gives for inputs [n, ...], with some weights replaced, batch by batch."""
    replaced = dict(weights or {})
    with torch.no_grad():
        given = inputs.split(_BATCH)
        return torch.cat([functional_call(module, replaced, (some,)) for some in given])


def _float_bytes(module: nn.Module) -> int:
    numbers: int = sum(one.numel() for one in module.state_dict().values())
    return numbers * _FLOAT_BYTES
