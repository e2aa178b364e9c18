"""Offers of the embedded digits model, measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pysplitcodec import Codebook, Codec
from pysplitcodec.demo import Digits
from pysplitcodec.plan.packed_model import pack_tflite, tflite_weights, unpack_tflite
from pysplitcodec.plan.patterns import Pattern
from pysplitcodec.runtime import TFLiteModel
from pysplitcodec.serve import Offer
from pysplitcodec.splitting import read_graph, split
from pysplitcodec.splitting.layers import read_layers

SPLITS = ("block1", "bottleneck")
# accuracy that may be lost -> bits of the head's weights, and of the feature
WIDTHS = {0.02: (6, 6), 0.2: (5, 3)}


def digits_offers(digits: Digits, folder: Path) -> list[Offer]:
    """Offers at two split points for two drops; the files are in `folder`."""
    whole = accuracy(digits, [TFLiteModel(digits.model)])
    return [
        _offer(digits, folder, at, drop, bits, whole)
        for at in SPLITS
        for drop, bits in WIDTHS.items()
    ]


def accuracy(digits: Digits, parts: list[Any]) -> float:
    """The share of 150 test images that parts, one after another, get right."""
    answers = []
    for value in digits.images[:150]:
        for part in parts:
            (value,) = part(value)
        answers.append(value.argmax())
    return float(np.mean(answers == digits.labels[:150]))


def _offer(
    digits: Digits, folder: Path, at: str, drop: float, bits: tuple[int, int], whole: float
) -> Offer:
    plain, tail = split(digits.model, at)
    widths = {w.name: bits[0] for w in tflite_weights(plain) if len(w.shape) > 1}
    packed = pack_tflite(plain, widths)
    head = TFLiteModel(unpack_tflite(packed))
    features = np.concatenate([head(image)[0] for image in digits.calibration])
    codec = Codec(Codebook.fit(features, bits[1]), "pack", shape=features.shape[1:])
    head_path, tail_path = folder / f"{at}-{drop}.head", folder / f"{at}.tflite"
    head_path.write_bytes(packed)
    tail_path.write_bytes(tail)

    def sent(feature: np.ndarray) -> list[np.ndarray]:
        return [codec.decode(codec.encode(feature[0]))[None]]

    pattern = Pattern(
        split=at,
        drop=drop,
        measured_drop=whole - accuracy(digits, [head, sent, TFLiteModel(tail)]),
        weight_bits=widths,
        feature_bits=bits[1],
        feature_elements=features[0].size,
        head_bytes=len(packed),
        head_macs=_macs(plain),
        tail_macs=_macs(tail),
    )
    return Offer(pattern, "tflite", head_path, codec, tail_path)


def _macs(model: bytes) -> int:
    layers = read_layers(read_graph(model), [])
    macs = layers.macs(range(len(layers.operators)))
    assert macs is not None
    return macs
