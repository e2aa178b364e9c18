"""QPART whole: bits of each layer for every split point and accuracy, offline, and serving them.

Algorithm 1 with its closed form put right (`bit_widths.water_filling`), and its budget, which the
paper does not give, found by measuring: the largest at which calibration samples lose no more than
they may.  Algorithm 2 looks patterns up and takes the split point of the least objective (Eq. 17).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pysplitcodec.errors import ArgumentError, ModelError
from pysplitcodec.plan.bit_widths import added_noise, exact_widths, integer_widths
from pysplitcodec.plan.cost import Candidate
from pysplitcodec.plan.packed_weights import pack_weights
from pysplitcodec.plan.qpart_noise import Classifier, LayerNoise, even_grid
from pysplitcodec.splitting import Split, read_graph
from pysplitcodec.splitting.layers import read_layers
from pysplitcodec.splitting.model_graph import ModelGraph

__all__ = ["Classifier", "Pattern", "at_drop", "find_patterns", "load_patterns", "save_patterns"]


@dataclass(frozen=True)
class Pattern:
    """A split point, and the bits of what is sent for it.

    drop: the accuracy that may be lost; measured_drop: that is, on calibration samples.
    weight_bits: of the head's layers by name.  feature_bits: of the feature's elements, of which
    there are so many.  head_bytes: of the weights as they are sent, measured.  head_macs,
    tail_macs: multiply-accumulates of one input.
    """

    split: str
    drop: float
    measured_drop: float
    weight_bits: dict[str, int]
    feature_bits: int
    feature_elements: int
    head_bytes: int
    head_macs: int
    tail_macs: int

    @property
    def candidate(self) -> Candidate:
        """What `evaluate` and `choices` take; the feature is packed and not coded."""
        return Candidate(
            self.split,
            self.head_macs,
            self.tail_macs,
            elements=self.feature_elements,
            payload_bytes=float(np.ceil(self.feature_elements * self.feature_bits / 8)),
            bits=self.feature_bits,
            head_bytes=self.head_bytes,
            accuracy_drop=self.measured_drop,
        )


def find_patterns(
    classifier: Classifier,
    drops: Sequence[float],
    *,
    splits: Sequence[str] | None = None,
    exact: bool = False,
    progress: Callable[[str], None] | None = None,
) -> list[Pattern]:
    """Algorithm 1: for every split point and accuracy drop, the fewest bits that keep it.

    drops: accuracy that may be lost, as shares; QPART has five.  splits: names of split points, as
    `list_cuts` has them; by default one for each number of layers on the device, the last before
    the next layer.  exact: `exact_widths` instead of the rounded closed form.  progress: told of
    each split point.

    Split points that lose more than a drop even at 8 bits have no pattern for it.  Raises
    ArgumentError for drops that are not between 0 and 1, SplitError for split points that are none,
    MissingDependencyError without safetensors, or without SciPy if `exact`.
    """
    example = classifier.inputs[:1]
    graph = read_graph(classifier.model, example)
    every_macs = _macs(classifier.model, example)
    weights = {layer.name: layer for layer in classifier.measure(drops)}
    solve = exact_widths if exact else integer_widths
    found = []
    for name in _last_cuts(graph, classifier) if splits is None else splits:
        halves = graph.split(name)
        feature = classifier.measure_feature(name, halves, drops)
        own = dict(halves.head.named_parameters())
        layers = [*(layer for n, layer in weights.items() if n in own), feature]
        head_macs = _macs(halves.head, example)
        if progress is not None:
            progress(name)
        head = {n: t.detach().numpy() for n, t in halves.head.state_dict().items()}
        for drop, (bits, measured_drop) in _fewest(
            classifier, halves, layers, drops, solve
        ).items():
            weight_bits = {layer.name: b for layer, b in zip(layers[:-1], bits)}
            found.append(
                Pattern(
                    name,
                    drop,
                    measured_drop,
                    weight_bits,
                    bits[-1],
                    feature.size,
                    len(pack_weights(head, weight_bits)),
                    head_macs,
                    every_macs - head_macs,
                )
            )
    return found


def _fewest(
    classifier: Classifier,
    halves: Split[nn.Module],
    layers: Sequence[LayerNoise],
    drops: Sequence[float],
    solve: Callable[..., NDArray[np.int64]],
) -> dict[float, tuple[Sequence[int], float]]:
    """By drop, bits of the layers, the feature last, and the drop that they are measured to have.

    The budget that goes with a drop is not known, so widths for many budgets are measured, those
    that send least first.
    """
    sizes = np.array([layer.size for layer in layers])
    candidates: set[tuple[int, ...]] = set()
    for drop in drops:
        noises = [layer.share(drop) for layer in layers]
        most, least = (added_noise(noises, np.full(len(sizes), b)) for b in (_LOW, _HIGH))
        for budget in np.geomspace(least, most, _BUDGETS):
            widths = solve(sizes, noises, max(budget, least), _LOW, _HIGH)
            candidates.add(tuple(int(b) for b in widths))
    plain, names = classifier.layers, [layer.name for layer in layers[:-1]]
    wanted, found = sorted(drops), {}
    for bits in sorted(candidates, key=lambda widths: (sizes @ widths, widths)):
        coarse = {n: even_grid(plain[n], b) for n, b in zip(names, bits)}
        sent = even_grid(classifier.features(halves.head, coarse), bits[-1])
        measured = classifier.drop(classifier.tail_answers(halves.tail, sent))
        while wanted and measured <= wanted[-1]:
            found[wanted.pop()] = bits, measured
        if not wanted:
            break
    return {drop: found[drop] for drop in drops if drop in found}


def _last_cuts(graph: ModelGraph[nn.Module], classifier: Classifier) -> list[str]:
    """Of the cuts with the same weights before them, the last."""
    last = {}
    for cut in graph.list_cuts():
        own = dict(graph.split(cut).head.named_parameters())
        names = tuple(name for name in classifier.layers if name in own)
        if names:
            last[names] = cut.name
    return list(last.values())


def _macs(module: nn.Module, example: Tensor) -> int:
    layers = read_layers(read_graph(module, example), [])
    found = layers.macs(range(len(layers.operators)))
    if found is None:
        raise ArgumentError("the model has operators whose multiply-accumulates are not known")
    return found


_LOW, _HIGH = 1, 8  # bits
_BUDGETS = 32  # for each drop, that are tried


def at_drop(patterns: Sequence[Pattern], drop: float) -> list[Pattern]:
    """Those of the largest of the accuracy drops that is not above `drop` (Algorithm 2, line 1).

    Raises ArgumentError if there is none, and names the least.
    """
    known = sorted({one.drop for one in patterns})
    fitting = [one for one in known if one <= drop]
    if not fitting:
        least = f"{known[0]:g}" if known else "none"
        raise ArgumentError(f"drop is {drop:g}: expected at least {least}, the least with patterns")
    return [one for one in patterns if one.drop == fitting[-1]]


def save_patterns(patterns: Sequence[Pattern], path: str | Path) -> None:
    """Write patterns as JSON, for `load_patterns`."""
    rows = [asdict(one) for one in patterns]
    Path(path).write_text(json.dumps({"format": 1, "patterns": rows}, indent=1) + "\n", "utf-8")


def load_patterns(path: str | Path) -> list[Pattern]:
    """Read what `save_patterns` wrote.  Raises ModelError for anything else."""
    try:
        found = json.loads(Path(path).read_text("utf-8"))
        if found["format"] != 1:
            raise ModelError(f"{path} has format {found['format']!r}: this version reads 1")
        return [Pattern(**row) for row in found["patterns"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} holds no patterns: {error}") from None
