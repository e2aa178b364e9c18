"""What QPART is compared with: other ways to share a classifier, for the same cost model.

Each gives an `Offload` for every split point (`classifier.cut`) at which the calibration samples
keep the accuracy drop.  Weights that are sent count as `head_bytes`; Neurosurgeon and JALAD have
them on the device already, which is `evaluate` without `inferences`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pysplitcodec.bisection import least_that_keeps
from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec
from pysplitcodec.codecs.jpeg import JpegScans
from pysplitcodec.plan.calibrated import CalibratedClassifier, Part, Weights
from pysplitcodec.plan.cost import Candidate
from pysplitcodec.plan.patterns import Pattern

__all__ = [
    "Offload",
    "autoencoder",
    "jalad",
    "jpeg_input",
    "on_device",
    "pruning",
    "run_pattern",
    "unoptimised",
]

_FLOAT_BYTES = 4
_SHARES = np.linspace(0.99, 0.0, 100)  # of the weights, that are pruned
_REDUCTIONS = (32, 16, 8, 4, 2)  # of the feature, by an autoencoder


class Offload(NamedTuple):
    """A candidate, and what device and server answer together: inputs [n, ...] to [n, classes]."""

    candidate: Candidate
    answers: Callable[[Any], Tensor]


Rung = Callable[[], Offload]


def on_device(classifier: CalibratedClassifier) -> Offload:
    """The whole model on the device, its weights sent in float32."""
    candidate = Candidate(
        "all on the device",
        classifier.macs,
        0,
        head_bytes=classifier.float_bytes,
        accuracy_drop=0.0,
    )
    return Offload(candidate, partial(classifier.answers, {}))


def unoptimised(classifier: CalibratedClassifier, parts: Sequence[Part]) -> list[Offload]:
    """Weights and feature in float32: QPART's "no optimization", and Neurosurgeon's candidates."""
    return [
        Offload(
            replace(_float_candidate(part), accuracy_drop=0.0),
            partial(classifier.answers, {}),
        )
        for part in parts
    ]


def jpeg_input(
    classifier: CalibratedClassifier,
    pixels: NDArray[np.uint8],
    inputs_of: Callable[[NDArray[np.uint8]], Tensor],
    drop: float,
) -> Offload | None:
    """The whole model on the server, which gets JPEGs of the lowest quality that keeps `drop`.

    pixels: the calibration samples, [n, h, w] or [n, h, w, 3].  inputs_of: what the model takes, of
    some of them.  The header, which all share, is not sent; `answers` takes pixels.  None if no
    quality keeps `drop`.
    """

    macs, subsampling = classifier.macs, "4:2:0" if pixels.ndim == 4 else "4:4:4"

    def sending(quality: int) -> Offload:
        scans = JpegScans(pixels.shape[1:], quality, subsampling)

        def encoded(given: NDArray[np.uint8]) -> list[bytes]:
            return [scans.encode(one) for one in given]

        def answers_to(sent: list[bytes]) -> Tensor:
            decoded = np.stack([scans.decode(one) for one in sent])
            return classifier.answers({}, inputs_of(decoded))

        sent = encoded(pixels)
        candidate = Candidate(
            f"send JPEG of quality {quality}",
            0,
            macs,
            payload_bytes=float(np.mean([len(one) for one in sent])),
            accuracy_drop=classifier.drop(answers_to(sent)),
        )
        return Offload(candidate, lambda given: answers_to(encoded(given)))

    return _first([partial(sending, quality) for quality in range(1, 101)], drop)


def jalad(classifier: CalibratedClassifier, parts: Sequence[Part], drop: float) -> list[Offload]:
    """The feature on an even grid of the fewest bits that keep `drop`, entropy-coded (JALAD).

    JALAD has Huffman's code; the coder here is `range`, which makes fewer bytes.
    """

    def coded(part: Part, bits: int) -> Offload:
        codec = _even_codec(part.features, bits, "range")
        lengths = [len(codec.encode(one.numpy())) for one in part.features]
        candidate = replace(
            _float_candidate(part),
            payload_bytes=float(np.mean(lengths)),
            bits=bits,
            coder="range",
        )
        return _with_drop(classifier, candidate, _quantising(part, codec, {}))

    return _each(parts, drop, lambda part: [partial(coded, part, bits) for bits in range(1, 9)])


def autoencoder(
    classifier: CalibratedClassifier, parts: Sequence[Part], drop: float
) -> list[Offload]:
    """The feature through a linear autoencoder, as narrow as `drop` allows, in float32.

    The autoencoder is the best that a linear one can be, principal components: of the elements of
    a vector, or of the channels of a map, 1/32 to 1/2 of them.  Device and server have a side of
    it each; the device's is sent with the head.
    """

    def narrowed(part: Part, narrow: int, axes: Tensor, mean: Tensor) -> Offload:
        candidate = _narrowed(part, len(mean), narrow)
        return _with_drop(classifier, candidate, _projecting(part, axes[:narrow], mean))

    def rungs(part: Part) -> list[Rung]:
        rows = _rows(part)
        mean = rows.mean(0)
        apart = (rows - mean).double()
        axes = torch.linalg.eigh(apart.T @ apart).eigenvectors.flip(1).T.float()
        widths = [len(mean) // reduction for reduction in _REDUCTIONS]
        return [partial(narrowed, part, width, axes, mean) for width in widths if width]

    return _each(parts, drop, rungs)


def pruning(classifier: CalibratedClassifier, parts: Sequence[Part], drop: float) -> list[Offload]:
    """The head without its least weights, as many of them as `drop` allows.

    What is left is sent in float32, with a bit for each weight that says whether it is left.
    Weights are pruned, not neurons as by those whom QPART compares itself with: more can go for the
    same accuracy, but no multiply-accumulates are saved.
    """

    def pruned(part: Part, every: Weights, sizes: Tensor, share: float) -> Offload:
        least = sizes[int(share * len(sizes))]
        kept = {name: weight * (weight.abs() >= least) for name, weight in every.items()}
        left = sum(int(weight.count_nonzero()) for weight in kept.values())
        saved = (len(sizes) - left) * _FLOAT_BYTES - len(sizes) // 8
        plain = _float_candidate(part)
        candidate = replace(plain, head_bytes=plain.head_bytes - max(saved, 0))
        return _with_drop(classifier, candidate, partial(classifier.answers, kept))

    def rungs(part: Part) -> list[Rung]:
        every = {name: classifier.layers[name] for name in part.layer_names}
        sizes = torch.cat([one.abs().flatten() for one in every.values()]).sort().values
        return [partial(pruned, part, every, sizes, share) for share in _SHARES]

    return _each(parts, drop, rungs)


def run_pattern(classifier: CalibratedClassifier, part: Part, pattern: Pattern) -> Offload:
    """What QPART sends, run: weights packed and unpacked, the feature encoded and decoded.

    part: the pattern's split point.  The feature's grid is that of the calibration samples, as the
    head with its few bits gives them.
    """
    coarse = part.unpacked(part.packed(pattern.weight_bits))
    features = part.features_of(classifier.inputs, coarse)
    codec = _even_codec(features, pattern.feature_bits, "pack")
    return Offload(pattern.candidate, _quantising(part, codec, coarse))


def _float_candidate(part: Part) -> Candidate:
    elements = part.features[0].numel()
    return Candidate(
        part.name,
        part.head_macs,
        part.tail_macs,
        elements=elements,
        payload_bytes=elements * _FLOAT_BYTES,
        head_bytes=part.float_bytes,
    )


def _with_drop(
    classifier: CalibratedClassifier, candidate: Candidate, answers: Callable[[Tensor], Tensor]
) -> Offload:
    measured = classifier.drop(answers(classifier.inputs))
    return Offload(replace(candidate, accuracy_drop=measured), answers)


def _each(
    parts: Sequence[Part], drop: float, rungs_of: Callable[[Part], Sequence[Rung]]
) -> list[Offload]:
    """For each part the first rung that keeps the drop; each sends more than the one before."""
    found = (_first(rungs_of(part), drop) for part in parts)
    return [offload for offload in found if offload is not None]


def _first(rungs: Sequence[Rung], drop: float) -> Offload | None:
    made = {}

    def keeps(number: int) -> bool:
        made[number] = rungs[number]()
        return (made[number].candidate.accuracy_drop or 0.0) <= drop

    first = least_that_keeps(0, len(rungs) - 1, keeps)
    return None if first is None else made[first]


def _even_codec(features: Tensor, bits: int, coder: str) -> Codec:
    book = Codebook.fit(features.numpy(), bits, "minmax")
    return Codec(book, coder, shape=tuple(features.shape[1:]))


def _quantising(part: Part, codec: Codec, weights: Weights) -> Callable[[Tensor], Tensor]:
    def answers(inputs: Tensor) -> Tensor:
        features = part.features_of(inputs, weights)
        sent = [codec.dequantize(codec.quantize(one.numpy())) for one in features]
        return part.answers_to(torch.from_numpy(np.stack(sent)))

    return answers


def _rows(part: Part) -> Tensor:
    """[n, c] of vectors [n, c] and maps [n, c, ...] or [n, ..., c]."""
    moved = part.features.movedim(part.channel_axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def _narrowed(part: Part, wide: int, narrow: int) -> Candidate:
    """The candidate with an autoencoder: applied at every place of a map."""
    plain = _float_candidate(part)
    places = plain.elements / wide
    return replace(
        plain,
        head_macs=plain.head_macs + places * wide * narrow,
        tail_macs=plain.tail_macs + places * wide * narrow,
        elements=places * narrow,
        payload_bytes=places * narrow * _FLOAT_BYTES,
        head_bytes=plain.head_bytes + (wide * narrow + wide) * _FLOAT_BYTES,
    )


def _projecting(part: Part, basis: Tensor, mean: Tensor) -> Callable[[Tensor], Tensor]:
    def answers(inputs: Tensor) -> Tensor:
        moved = part.features_of(inputs, {}).movedim(part.channel_axis, -1)
        restored = (moved - mean) @ basis.T @ basis + mean
        return part.answers_to(restored.movedim(-1, part.channel_axis).contiguous())

    return answers
