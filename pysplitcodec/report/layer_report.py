"""The layer report: every split point of a model with what it costs and what it sends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Callable

import numpy as np

import pysplitcodec as sc
from pysplitcodec.bench import machine
from pysplitcodec.errors import ArgumentError
from pysplitcodec.report.features import Array, Feature
from pysplitcodec.report.times import Times, measure_halves
from pysplitcodec.runtime import is_module, model_format
from pysplitcodec.splitting import ModelGraph, Tensor, read_graph
from pysplitcodec.splitting.layers import Layers, open_observed, read_layers

_FORMATS = {"tflite": "tflite", "onnx": "onnx", "pt2": "pytorch"}

# Features with more channels do without the coder "context", unless it is asked for.
CONTEXT_CHANNELS = 64

# Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SplitPoint:
    """One split point; docs/layers.md says what the numbers mean and how they are measured."""

    index: int
    name: str
    after: str
    operators_before: int
    tensors: list[dict[str, Any]]
    shape: list[int]
    dtype: str
    elements: int
    bytes: int
    float32_bytes: int
    int8_bytes: int
    repeats: int | None
    macs_head: int | None
    macs_tail: int | None
    params_head: int
    params_tail: int
    weight_bytes_head: int
    weight_bytes_tail: int
    head_ram_bytes: int | None
    sparsity: float | None
    entropy_bits: list[float] | None
    coded: list[dict[str, Any]] | None
    head_ms: float | None
    tail_ms: float | None
    codebooks: list[dict[str, Any]] | None
    histograms: list[dict[str, Any]] | None
    picture: dict[str, Any] | None


@dataclass(frozen=True)
class LayerReport:
    """What `splitcodec inspect MODEL --json` prints; docs/layers.md explains it."""

    model: str
    format: str
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    macs: int | None
    params: int
    weight_bytes: int
    samples: int
    bits: list[int]
    machine: str
    version: str
    operators: list[dict[str, Any]]
    split_points: list[SplitPoint]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        return asdict(self)


def layer_report(
    model: Any,
    inputs: Sequence[Sequence[Array]] | None = None,
    *,
    example: Any = None,
    bits: Sequence[int] = (2,),
    tensors: int = 1,
    context_channels: int = CONTEXT_CHANNELS,
    time: bool = True,
    graph: ModelGraph[Any] | None = None,
    progress: Progress | None = None,
) -> LayerReport:
    """Work out, and measure, what it means to cut `model` at each of its split points.

    model, example: as for `splitting.read_graph`; a module must be in eval() mode.  inputs: real
    ones, each with an array for every input of the model; the first half of them is learned from,
    the second half measured (a single one is both).  Without them there is nothing on sparsity,
    entropy and coded bytes.
    bits: index widths to code at.  tensors: how many tensors may be sent at a split point; features
    are then the first of them.  context_channels: of features with more channels than this the
    coder "context" is left out, for training it takes some 0.2 s a channel.  time: whether to time
    the halves.  graph: what `splitting.read_graph` made of the model, where that was done already.
    progress: called with what is being done, how much of that is done, and how much there is.

    Raises ArgumentError if an argument is wrong, otherwise as `splitting.list_cuts`, and ModelError
    if the model does not run.
    """
    widths = _checked_bits(bits)
    graph = graph or read_graph(model, example)
    layers = read_layers(graph, graph.list_cuts(tensors))
    samples = _checked_inputs(layers, inputs)
    tell = progress or (lambda *_: None)
    each = [widths] * len(layers.cuts)
    features = measure_features(graph, layers, samples, each, context_channels, tell)
    times: list[Times] = []
    if time and layers.cuts:
        times = measure_halves(graph, layers.cuts, example, samples[0] if samples else None, tell)
    everything = range(len(layers.operators))
    return LayerReport(
        model=_name(model),
        format="pytorch" if is_module(model) else _FORMATS[model_format(model)],
        inputs=[_end(end) for end in layers.inputs],
        outputs=[_end(end) for end in layers.outputs],
        macs=layers.macs(everything),
        params=layers.params(everything),
        weight_bytes=layers.weight_bytes(everything),
        samples=len(samples),
        bits=list(widths),
        machine=f"{machine.describe()['cpu']}, {os.cpu_count()} cores",
        version=sc.__version__,
        operators=_operators(layers),
        split_points=[
            _split_point(
                layers,
                number,
                features[number] if features else None,
                times[number] if times else Times(None, None),
            )
            for number in range(len(layers.cuts))
        ],
    )


def _name(model: Any) -> str:
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    return type(model).__name__ if is_module(model) else ""


def _checked_bits(bits: Sequence[int]) -> tuple[int, ...]:
    whole = isinstance(bits, Sequence) and all(type(width) is int for width in bits)
    if not whole or not bits or min(bits) < 1 or max(bits) > 8:
        raise ArgumentError(f"bits is {bits!r}: expected index widths, 1 to 8")
    return tuple(dict.fromkeys(bits))


def _checked_inputs(
    layers: Layers, inputs: Sequence[Sequence[Array]] | None
) -> list[Sequence[Array]]:
    """Each as the model takes it, without any batch but what the model asks for."""
    samples = [] if inputs is None else list(inputs)
    if inputs is not None and not samples:
        raise ArgumentError("inputs is empty: expected at least one, or None")
    for number, sample in enumerate(samples):
        got = [(tuple(np.shape(array)), np.asarray(array).dtype.name) for array in sample]
        wanted = [(end.shape, end.dtype) for end in layers.inputs]
        if got != wanted:
            raise ArgumentError(f"inputs[{number}] is {_shown(got)}: expected {_shown(wanted)}")
    return samples


def _shown(arrays: Sequence[tuple[tuple[int, ...], str]]) -> str:
    return " and ".join(f"{dtype} of shape {shape}" for shape, dtype in arrays) or "nothing"


def measure_features(
    graph: ModelGraph[Any],
    layers: Layers,
    samples: Sequence[Sequence[Array]],
    bits: Sequence[Sequence[int]],
    context_channels: int,
    tell: Progress,
) -> list[Feature]:
    """What all samples give at the cuts of `layers`, from one run of the model for each sample.

    bits: for each cut, the widths to code at.  samples, context_channels: as for `layer_report`.
    """
    if not samples or not layers.cuts:
        return []
    learned, measured = samples[: max(len(samples) // 2, 1)], samples[len(samples) // 2 :]
    features = [
        Feature(
            cut.tensors[0].zero_point or 0, layers.channels_last, own, len(learned), len(measured)
        )
        for cut, own in zip(layers.cuts, bits)
    ]
    runner = open_observed(graph, layers.cuts)
    sent = dict.fromkeys(tensor.number for cut in layers.cuts for tensor in cut.tensors)
    place = {number: i for i, number in enumerate(sent)}
    first = [place[cut.tensors[0].number] for cut in layers.cuts]
    for number, sample in enumerate(learned):
        tell("running the model", number, len(learned))
        given = runner(*sample)
        for feature, at in zip(features, first):
            feature.learn(given[at])
    tell("running the model", len(learned), len(learned))
    for number, feature in enumerate(features):
        tell("fitting codecs", number, len(features))
        feature.fit(context_channels if len(samples) > 1 else 0)
    tell("fitting codecs", len(features), len(features))
    for number, sample in enumerate(measured):
        tell("coding features", number, len(measured))
        given = runner(*sample)
        for feature, at in zip(features, first):
            feature.measure(given[at])
    tell("coding features", len(measured), len(measured))
    return features


def _end(end: Any) -> dict[str, Any]:
    return {"name": end.name, "shape": list(end.shape), "dtype": end.dtype}


def _operators(layers: Layers) -> list[dict[str, Any]]:
    split_points = {
        tensor.number: cut.index
        for cut in layers.cuts
        for tensor in cut.tensors
        if tensor.name == cut.name
    }
    found = []
    for index, operator in enumerate(layers.operators):
        at = [split_points[key] for key in operator.writes if key in split_points]
        found.append(
            {
                "index": index,
                "name": operator.name,
                "kind": operator.kind,
                "inputs": layers.sources(index),
                "macs": operator.macs,
                "params": layers.params([index]),
                "output_bytes": layers.output_bytes(index),
                "split_point": at[0] if at else None,
            }
        )
    return found


def _split_point(layers: Layers, number: int, feature: Feature | None, times: Times) -> SplitPoint:
    cut, head, tail = layers.cuts[number], layers.heads[number], layers.tail(number)
    return SplitPoint(
        index=cut.index,
        name=cut.name,
        after=cut.after,
        operators_before=cut.operators_before,
        tensors=[_tensor(tensor) for tensor in cut.tensors],
        shape=list(cut.tensors[0].shape),
        dtype=cut.tensors[0].dtype,
        elements=cut.elements,
        bytes=cut.nbytes,
        float32_bytes=4 * cut.elements,
        int8_bytes=cut.elements,
        repeats=cut.repeats,
        macs_head=layers.macs(head),
        macs_tail=layers.macs(tail),
        params_head=layers.params(head),
        params_tail=layers.params(tail),
        weight_bytes_head=layers.weight_bytes(head),
        weight_bytes_tail=layers.weight_bytes(tail),
        head_ram_bytes=layers.head_ram_bytes(number),
        sparsity=feature.sparsity() if feature else None,
        entropy_bits=feature.entropy_bits() if feature else None,
        coded=feature.coded() if feature else None,
        head_ms=times.head_ms,
        tail_ms=times.tail_ms,
        codebooks=feature.codebooks() if feature else None,
        histograms=feature.histograms() if feature else None,
        picture=feature.picture if feature else None,
    )


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": tensor.scale,
        "zero_point": tensor.zero_point,
    }
