"""What it costs to send a feature as slices: total bytes for each number of slices and coder.

    python bench/slices.py [--epochs EPOCHS] [--budget BYTES]

Prints a markdown table for each set: mean payload of a whole feature, relative to one slice, and in
brackets the same with the 10 bytes of every slice's frame.  Needs the features of SPLITCODEC_DATA.
The models are fitted on the calibration features, one for each slice; those of `context` share the
budget out by their channels.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

import pysplitcodec as sc
from pysplitcodec.model import CoderModel

Indices = npt.NDArray[np.uint8]
DATA = Path(os.environ.get("SPLITCODEC_DATA", Path(__file__).parents[2] / "shared" / "data"))
SETS = ("tiny_split1_ptq_b2", "tiny_split2_ptq_b2")
SAMPLES = 50
BITS = 2
FRAME = 10  # bytes of a compact frame beside its payload


def model_for(coder: str, part: Indices, budget: int, epochs: float) -> CoderModel | None:
    if coder == "rans":
        return sc.RansModel.fit(part, BITS)
    if coder == "context":
        return sc.ContextModel.fit(part, BITS, budget_bytes=budget, epochs=epochs)
    return None


def payloads(
    coder: str, count: int, calibration: Indices, test: Indices, budget: int, epochs: float
) -> float:
    """Mean payload bytes of a whole feature in `count` slices."""
    book = sc.Codebook(np.arange(1 << BITS))
    codec = sc.Codec(book, "pack", shape=test.shape[1:], dtype="uint8", channel_axis=0)
    parts = sc.SlicedCodec(codec.slices(count)).split(calibration)
    models = [
        model_for(coder, part, budget * part.shape[1] // test.shape[1], epochs) for part in parts
    ]
    sliced = sc.SlicedCodec(codec.slices(count, models, coder=coder))
    total = 0
    for feature in test:
        frames = sliced.encode(feature)
        assert np.array_equal(sliced.decode(frames)[0], feature)
        total += sum(len(frame) - FRAME for frame in frames)
    return total / len(test)


def rows(calibration: Indices, test: Indices, budget: int, epochs: float) -> Iterator[list[str]]:
    coders = [name for name, present in sc.coders().items() if present]
    yield ["slices", *coders]
    channels = test.shape[1]
    alone: dict[str, float] = {}
    for count in [count for count in (1, 2, 3, 4, 6, 12, 24) if channels % count == 0]:
        cells = []
        for coder in coders:
            mean = payloads(coder, count, calibration, test, budget, epochs)
            one = alone.setdefault(coder, mean)
            ratio, framed = mean / one, (mean + FRAME * count) / (one + FRAME)
            cells.append(f"{mean:,.0f} bytes" if count == 1 else f"{ratio:.3f} ({framed:.3f})")
        yield [str(count), *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=float, default=2, help="of training, for context (2)")
    parser.add_argument("--budget", type=int, default=16384, help="bytes of all models (16384)")
    arguments = parser.parse_args()
    for name in SETS:
        with np.load(DATA / "features" / f"{name}.npz") as arrays:
            calibration, test = arrays["calibration"], arrays["test"][:SAMPLES]
        shape = " x ".join(map(str, test.shape[1:]))
        print(f"\n## {name}: {shape}, {BITS} bits, {len(test)} samples\n")
        for at, row in enumerate(rows(calibration, test, arguments.budget, arguments.epochs)):
            print("|", " | ".join(row), "|", flush=True)
            if at == 0:
                print("|---" * len(row) + "|")


if __name__ == "__main__":
    main()
