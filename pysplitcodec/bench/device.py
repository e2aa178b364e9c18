"""`splitcodec profile`: how fast this machine computes and codes, as a profile for planning."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Callable

import numpy as np

import pysplitcodec as sc
from pysplitcodec.bench.machine import describe
from pysplitcodec.bench.samples import generate
from pysplitcodec.bench.timing import median_ns
from pysplitcodec.errors import ModelError
from pysplitcodec.plan import DeviceProfile, ModelTime
from pysplitcodec.runtime import model_format, open_model, probe
from pysplitcodec.splitting import read_graph
from pysplitcodec.splitting.layers import read_layers
from pysplitcodec.splitting.verify import random_inputs

__all__ = ["measure_device"]

# ResNet-18's convolutions of 3x3: channels in and out, height and width in and out.
_CONVOLUTIONS = ((64, 56), (128, 28), (256, 14))
_SAMPLES = 8
# Of the coders' models; those of a feature with few channels need no more.
_MODEL_BYTES = 4096
_COMMAND = "measured by splitcodec profile"


def measure_device(
    name: str,
    models: Sequence[Path],
    *,
    threads: int,
    seconds: float,
    progress: Callable[[str], None],
) -> DeviceProfile:
    """Return this machine's profile: its MAC/s, and what each coder of this build takes.

    models: files to run, on random inputs, for `model_times`.  Without any, `macs_per_s` is of
    convolutions in torch where it is installed, otherwise of their matrix products in numpy, for
    which `threads` does not count.  seconds: for each coder, and for each model.

    Raises ModelError for a model that cannot be run or whose MACs are not known.
    """
    times = []
    for model in models:
        progress(f"running {model.name}")
        times.append(_model_time(model, threads, seconds))
    found: dict[str, Any] = {"model_times": tuple(times)}
    sources = {}
    if not models:
        progress("computing")
        found["macs_per_s"], sources["macs_per_s"] = _macs_per_s(threads, seconds)
    found["encode_ns_per_element"] = _encode_ns(seconds, progress)
    sources["encode_ns_per_element"] = (
        f"{_COMMAND}: Codec.encode of generated float32 features of 12x32x32, one thread"
    )
    found["ram_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sources["ram_bytes"] = "sysconf"
    machine = describe()
    return DeviceProfile(
        name,
        description=f"{machine['cpu']}, {machine['logical_cores']} cores, {machine['os']}",
        sources=sources,
        **found,
    )


def _model_time(file: Path, threads: int, seconds: float) -> ModelTime:
    if model_format(file) == "tflite":
        probe(file, threads)  # a bad one can end the process that runs it
    layers = read_layers(read_graph(file), [])
    macs = layers.macs(range(len(layers.operators)))
    if not macs:
        raise ModelError(f"{file}: its MACs are not known, or there are none")
    model = open_model(file, threads)
    inputs = random_inputs(model)[0]
    (ns,) = median_ns([partial(model, *inputs)], seconds)
    return ModelTime(file.stem, macs, _rounded(ns / 1e9), f"{_COMMAND}, {_threads(threads)}")


def _macs_per_s(threads: int, seconds: float) -> tuple[float, str]:
    """What convolutions reach, and how that was measured."""
    macs = sum(9 * (channels * side) ** 2 for channels, side in _CONVOLUTIONS)
    what = ", ".join(f"{c}x{side}x{side}" for c, side in _CONVOLUTIONS)
    if importlib.util.find_spec("torch") is None:
        (ns,) = median_ns([_products()], seconds)
        how = f"matrix products of 3x3 convolutions of {what} in numpy, which are less work"
        return _rounded(macs / ns * 1e9), f"{_COMMAND}: {how}"
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (ns,) = median_ns([_convolutions()], seconds)
    finally:
        torch.set_num_threads(before)
    how = f"3x3 convolutions of {what} in torch {torch.__version__}, {_threads(threads)}"
    return _rounded(macs / ns * 1e9), f"{_COMMAND}: {how}"


def _convolutions() -> Callable[[], Any]:
    import torch

    random = torch.Generator().manual_seed(0)
    pairs = [
        (
            torch.randn(1, channels, side, side, generator=random),
            torch.randn(channels, channels, 3, 3, generator=random),
        )
        for channels, side in _CONVOLUTIONS
    ]

    def run() -> None:
        with torch.inference_mode():
            for feature, weights in pairs:
                torch.nn.functional.conv2d(feature, weights, padding=1)

    return run


def _products() -> Callable[[], Any]:
    random = np.random.default_rng(0)
    pairs = [
        (
            random.normal(size=(channels, 9 * channels)).astype(np.float32),
            random.normal(size=(9 * channels, side * side)).astype(np.float32),
        )
        for channels, side in _CONVOLUTIONS
    ]
    return lambda: [weights @ columns for weights, columns in pairs]


def _encode_ns(seconds: float, progress: Callable[[str], None]) -> dict[str, float]:
    """Nanoseconds per element of each coder at 2 bits; those that learn have done so."""
    features = generate()[:_SAMPLES]
    book, room = sc.Codebook.fit(features, bits=2), sc.Device(model_bytes=_MODEL_BYTES)
    names = [name for name, there in sc.coders().items() if there]
    calls: list[Callable[[], Any]] = []
    for name in names:
        progress(f"coder {name} learns")
        codec = sc.fit_codec(book, features, name, device=room)
        calls.append(partial(_encode, codec, features))
    progress("coding")
    taken = median_ns(calls, seconds)
    return {name: _rounded(ns / features.size) for name, ns in zip(names, taken)}


def _encode(codec: sc.Codec, features: Iterable[Any]) -> None:
    for feature in features:
        codec.encode(feature)


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _rounded(figure: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{figure:.4g}")
