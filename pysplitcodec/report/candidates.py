"""What a model offers the planner: each split point, width and coder, and not splitting at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec
from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import Candidate, DeviceProfile
from pysplitcodec.report.features import CODERS, Array
from pysplitcodec.report.layer_report import LayerReport
from pysplitcodec.splitting import ModelGraph
from pysplitcodec.splitting.verify import open_head, open_part

ON_DEVICE, ON_SERVER = "all on the device", "send the input"

# By number of the split point and width, the share of samples whose answer changes.
Changes = Mapping[tuple[int, int], float]


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
        if point.macs_head is None or point.macs_tail is None:
            continue
        for row in point.coded or ():
            drop = None if changes is None else changes.get((point.index, row["bits"]))
            found += [
                Candidate(
                    point.name,
                    point.macs_head,
                    point.macs_tail,
                    elements=point.elements,
                    coder=coder,
                    payload_bytes=row[coder],
                    bits=row["bits"],
                    head_bytes=point.weight_bytes_head,
                    ram_bytes=point.head_ram_bytes,
                    accuracy_drop=drop,
                )
                for coder in known
                if row[coder] is not None
            ]
    return found


def changed_answers(
    graph: ModelGraph[Any],
    report: LayerReport,
    samples: Sequence[Sequence[Array]],
    *,
    example: Any = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[tuple[int, int], float]:
    """Run every split point in every width on samples, and count answers that change.

    The answer is the greatest element of the first output; models whose first output has less than
    two have none, and nothing is counted.  graph, example: what the report was made of.  samples:
    the second half of those that the report was made with, if that shall be apart from codebooks.
    """
    found: dict[tuple[int, int], float] = {}
    tell = progress or (lambda *_: None)
    cuts = graph.list_cuts()
    points = [point for point in report.split_points if point.codebooks]
    for number, point in enumerate(points):
        tell("counting answers that change", number, len(points))
        halves = graph.split(cuts[point.index])
        head = open_head(halves.head, example, optimise=True)
        tail = open_part(halves.tail, optimise=True)
        features = [head(*sample) for sample in samples]
        answers = [_answer(tail(*feature)) for feature in features]
        if None in answers:
            return {}
        for row in point.codebooks or ():
            codec = Codec(
                Codebook(row["centroids"]),
                "pack",
                shape=features[0][0].shape,
                dtype=features[0][0].dtype.name,
            )
            same = [
                _answer(tail(codec.dequantize(codec.quantize(first)), *rest)) == answer
                for (first, *rest), answer in zip(features, answers)
            ]
            found[point.index, row["bits"]] = 1 - float(np.mean(same))
    tell("counting answers that change", len(points), len(points))
    return found


def _answer(outputs: Sequence[Array]) -> int | None:
    first = np.asarray(outputs[0])
    return int(first.argmax()) if first.size > 1 else None


def _nbytes(end: Mapping[str, Any]) -> int:
    """Of an input as the model takes it."""
    size: int = math.prod(end["shape"]) * np.dtype(end["dtype"]).itemsize
    return size
