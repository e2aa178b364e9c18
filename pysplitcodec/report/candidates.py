"""What a model offers the planner: each split point, width and coder, and not splitting at all."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pysplitcodec.codec import coders
from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import Candidate, DeviceProfile
from pysplitcodec.report.features import CODERS, Array
from pysplitcodec.report.layer_report import (
    CONTEXT_CHANNELS,
    LayerReport,
    SplitPoint,
    measure_features,
)
from pysplitcodec.splitting import ModelGraph
from pysplitcodec.splitting.layers import read_layers

ON_DEVICE, ON_SERVER = "all on the device", "send the input"

# By number of the split point and width, the share of samples whose answer changes.
Changes = Mapping[tuple[int, int], float]

_LEARNS = "context"
# Of the fewest bytes of other coders; 0.48 is the least measured, on the stem of ResNet-8 and on
# features trained for their rate, and 0.55 in docs/results/coders.md.
_LEAST_SHARE = 1 / 3


def candidates(
    report: LayerReport, device: DeviceProfile, changes: Changes | None = None
) -> list[Candidate]:
    """Every way to share the model of a report that was made with inputs.

    Coders whose speed on the device is not known are left out.  changes: of `changed_answers`;
    they become `accuracy_drop`, which they bound: an answer that stays cannot become wrong.

    Raises ArgumentError if the model has operators whose MACs are not known, or the report was made
    without inputs.
    """
    if report.macs is None:
        raise ArgumentError(f"{report.model} has operators whose MACs are not known")
    if not report.samples:
        raise ArgumentError("the report has no coded bytes: expected one that was made with inputs")
    known = [coder for coder in CODERS if coder in device.encode_ns_per_element]
    input_bytes = sum(_nbytes(end) for end in report.inputs)
    found = [
        Candidate(ON_DEVICE, report.macs, 0, head_bytes=report.weight_bytes, accuracy_drop=0.0),
        Candidate(ON_SERVER, 0, report.macs, payload_bytes=input_bytes, accuracy_drop=0.0),
    ]
    for point in report.split_points:
        for row in point.coded or ():
            found += [
                _candidate(point, row["bits"], coder, row[coder], changes)
                for coder in known
                if row[coder] is not None and _counted(point)
            ]
    return found


def untrained(
    report: LayerReport, device: DeviceProfile, changes: Changes | None = None
) -> dict[tuple[int, int], Candidate]:
    """What the coder "context" would be at best, where it could be trained but was not.

    By split point and width, in a third of the bytes of the best other coder: fewer than was ever
    measured of it.  report: made with `context_channels=0`, or by `train_context`.
    """
    if _LEARNS not in device.encode_ns_per_element or not coders()[_LEARNS]:
        return {}
    return {
        (point.index, row["bits"]): _candidate(
            point, row["bits"], _LEARNS, _LEAST_SHARE * min(filter(None, _others(row))), changes
        )
        for point in report.split_points
        for row in point.coded or ()
        if row[_LEARNS] is None
        and _counted(point)
        and _channels(point, report.format == "tflite") <= CONTEXT_CHANNELS
    }


def train_context(
    report: LayerReport,
    graph: ModelGraph[Any],
    samples: Sequence[Sequence[Array]],
    wanted: Collection[tuple[int, int]],
) -> LayerReport:
    """The report with mean bytes of the coder "context", trained at split points and widths.

    graph, samples: what the report was made of.  wanted: number of the split point, and width.
    """
    widths: dict[int, list[int]] = {}
    for index, bits in sorted(wanted):
        widths.setdefault(index, []).append(bits)
    cuts = graph.list_cuts()
    layers = read_layers(graph, [cuts[index] for index in widths])
    features = measure_features(
        graph, layers, samples, list(widths.values()), CONTEXT_CHANNELS, lambda *_: None
    )
    trained = {
        (index, row["bits"]): row[_LEARNS]
        for index, feature in zip(widths, features)
        for row in feature.coded() or ()
    }

    def completed(point: SplitPoint) -> SplitPoint:
        rows = [
            {**row, _LEARNS: trained.get((point.index, row["bits"]), row[_LEARNS])}
            for row in point.coded or ()
        ]
        return replace(point, coded=rows or point.coded)

    return replace(report, split_points=[completed(point) for point in report.split_points])


def _candidate(
    point: SplitPoint, bits: int, coder: str, payload_bytes: float, changes: Changes | None
) -> Candidate:
    return Candidate(
        point.name,
        point.macs_head or 0,
        point.macs_tail or 0,
        elements=point.elements,
        coder=coder,
        payload_bytes=payload_bytes,
        bits=bits,
        head_bytes=point.weight_bytes_head,
        ram_bytes=point.head_ram_bytes,
        accuracy_drop=None if changes is None else changes.get((point.index, bits)),
    )


def _others(row: Mapping[str, Any]) -> list[float | None]:
    return [row[coder] for coder in CODERS if coder != _LEARNS]


def _channels(point: SplitPoint, last: bool) -> int:
    """As coders count them: vectors and planes have one."""
    shape = point.shape[1:] if point.shape[:1] == [1] else point.shape
    return 1 if len(shape) < 3 else shape[-1 if last else 0]


def _counted(point: SplitPoint) -> bool:
    return point.macs_head is not None and point.macs_tail is not None


def _nbytes(end: Mapping[str, Any]) -> int:
    """Of an input as the model takes it."""
    size: int = math.prod(end["shape"]) * np.dtype(end["dtype"]).itemsize
    return size
