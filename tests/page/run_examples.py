"""run.json of trainings that never were, plausible and made from a seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Run = dict[str, Any]

METHODS = ("minmax", "kmeans", "bnn+", "bottlenet", "qat", "rate", "tcl", "tcl-rate")
# depth in MACs, parameters of the head, feature
_SPLITS = {
    "layer1": (14_000_000, 15_000, (8, 16, 16)),
    "layer2": (24_000_000, 70_000, (8, 8, 8)),
    "layer3": (40_000_000, 270_000, (16, 4, 4)),
}
_MACS, _PARAMETERS = 41_000_000, 272_000


def runs(
    methods: Sequence[str] = METHODS,
    bits: Sequence[int] = (1, 2, 3),
    seeds: Sequence[int] = (0, 1, 2),
    data: str = "cifar10",
    model: str = "resnet20",
) -> Iterator[Run]:
    """Every method at three split points and each width, and the whole model on either side."""
    rng = np.random.default_rng([len(data), len(model), *seeds])
    for seed in seeds:
        whole = 0.88 + 0.003 * float(rng.normal())
        given = (data, model, seed, whole, rng)
        yield _run(*given, "on-device", head=(_MACS, _PARAMETERS))
        yield _run(*given, "on-server", head=(0, 0), bytes_={"jpeg": 900 + 20 * rng.random()})
        for split, (macs, parameters, shape) in _SPLITS.items():
            for width in bits:
                for number, method in enumerate(methods):
                    jpeg = method == "bottlenet"
                    if jpeg and width != bits[0]:
                        continue  # it has no codebook
                    packed = float(np.prod(shape)) * width / 8
                    coded = packed * (0.9 - 0.06 * number + 0.02 * rng.random())
                    yield _run(
                        *given,
                        method,
                        split=split,
                        bits=None if jpeg else width,
                        feature=shape,
                        head=(macs, parameters),
                        loss=(0.09 - 0.01 * number) / width,
                        bytes_=(
                            {"jpeg": 400.0}
                            if jpeg
                            else {"pack": packed, "lzma": coded + 12, "context": 0.7 * coded}
                        ),
                    )


def write(folder: Path, found: Iterator[Run] | Sequence[Run]) -> Path:
    """Write runs as trainings do, each in a folder of its own in `folder`."""
    for number, run in enumerate(found):
        place = folder / f"{run['method']}-{number}"
        place.mkdir(parents=True)
        (place / "run.json").write_text(json.dumps(run))
    return folder


def _run(
    data: str,
    model: str,
    seed: int,
    whole: float,
    rng: np.random.Generator,
    method: str,
    *,
    split: str | None = None,
    bits: int | None = None,
    feature: Sequence[int] | None = None,
    head: tuple[int, int],
    loss: float = 0.0,
    bytes_: dict[str, float] | None = None,
) -> Run:
    after = whole - loss - 0.002 * rng.random()
    measured = split is not None
    return {
        "format": 1,
        "method": method,
        "settings": {"task_weight": 0.9} if method.startswith("tcl") else {},
        "model": model,
        "data": {"name": data, "train": 20000, "test": 10000},
        "split": split,
        "bottleneck": "autoencoder" if measured else None,
        "cut_shape": [4 * feature[0], *feature[1:]] if feature else None,
        "feature_shape": list(feature) if feature else None,
        "bits": bits,
        "seed": seed,
        "epochs": {"float": 3, "device": 3, "server": 2},
        "metrics": ["top1"],
        "whole": {"top1": whole},
        "float": {"top1": whole - 0.004},
        "quantized": {"top1": after - loss} if measured else None,
        "retrained": {"top1": after} if measured else None,
        "bytes": bytes_ or {},
        "input_bytes": 2300.0,
        "head": {"macs": head[0], "parameters": head[1]},
        "step_s": {"float": 0.15, "device": 0.16, "server": 0.08},
        "learning_rate": {"float": 0.05, "device": 0.02, "server": 0.02},
        "batch": 128,
        "bfloat16": False,
        "device": "cpu",
        "threads": 1,
        "command": f"splitcodec train {method}.toml --seed {seed}",
        "commit": "abc1234",
        "version": "0.1.0",
        "torch": "2.13.0",
        "date": "2026-11-22",
        "hours": 0.03,
    }
