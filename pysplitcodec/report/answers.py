"""What a model answers: which of its answers change where its feature, or its input, is coded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pysplitcodec.bisection import least_that_keeps
from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec
from pysplitcodec.codecs.jpeg import JpegScans
from pysplitcodec.errors import FeatureError
from pysplitcodec.images import ImageInput
from pysplitcodec.plan import Candidate
from pysplitcodec.report.features import Array
from pysplitcodec.report.layer_report import LayerReport, Progress
from pysplitcodec.runtime import Runner
from pysplitcodec.splitting import ModelGraph
from pysplitcodec.splitting.verify import open_head, open_part

SEND_JPEG = "send JPEG"

Samples = Sequence[Sequence[Array]]


def read_answers(whole: Runner, samples: Samples) -> list[int] | None:
    """For each sample the place of the greatest element of the model's first output.

    None if that has less than two elements.
    """
    found = [_answer(whole(*sample)) for sample in samples]
    return None if None in found else [one for one in found if one is not None]


def changed_answers(
    graph: ModelGraph[Any],
    report: LayerReport,
    samples: Samples,
    answers: Sequence[int],
    *,
    example: Any = None,
    progress: Progress | None = None,
) -> dict[tuple[int, int], float]:
    """Run every split point in every width on samples: the share of answers that change.

    By the split point's number and the width.  graph, example: what the report was made of.
    samples: the second half of those that the report was made with, if that shall be apart from
    codebooks.  answers: the model's own, of `read_answers`.
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
        for row in point.codebooks or ():
            codec = Codec(
                Codebook(row["centroids"]),
                "pack",
                shape=features[0][0].shape,
                dtype=features[0][0].dtype.name,
            )
            got = [
                _answer(tail(codec.dequantize(codec.quantize(first)), *rest))
                for first, *rest in features
            ]
            found[point.index, row["bits"]] = _changed(got, answers)
    tell("counting answers that change", len(points), len(points))
    return found


def send_jpeg(
    whole: Runner,
    samples: Samples,
    answers: Sequence[int],
    macs: int,
    *,
    max_drop: float,
    value_range: tuple[float, float] | None = None,
) -> Candidate:
    """All on the server, which gets JPEG: the fewest bytes that change few answers enough.

    For 4:4:4 and 4:2:0 the lowest quality at which at most `max_drop` of the answers change is
    looked for as in `least_that_keeps`; the one of fewer bytes is the candidate.  Its bytes are a
    mean, without the header that is the same for all.  What making a JPEG takes is not known, and
    not counted.

    whole: a model of one input; answers: what it says to the samples.  macs: it has.  value_range:
    as for `ImageInput`.  Raises FeatureError if the inputs are no images, or if even quality 100
    changes more answers; MissingDependencyError without Pillow.
    """
    if len(whole.inputs) != 1:
        raise FeatureError(f"the model takes {len(whole.inputs)} inputs")
    image = ImageInput.of(whole.inputs[0], value_range)
    pixels = [image.pixels(first) for first, *_ in samples]
    found = []
    for subsampling in ("4:4:4", "4:2:0")[: 2 if image.channels == 3 else 1]:
        tried: dict[int, tuple[float, float]] = {}  # bytes, and the share that changes

        def keeps(quality: int, how: str = subsampling, tried: Any = tried) -> bool:
            scans = JpegScans(pixels[0].shape, quality, how)
            sent = [scans.encode(one) for one in pixels]
            got = [_answer(whole(image.stored(scans.decode(one)))) for one in sent]
            tried[quality] = float(np.mean([len(one) for one in sent])), _changed(got, answers)
            return bool(tried[quality][1] <= max_drop)

        quality = least_that_keeps(1, 100, keeps)
        if quality is not None:
            found.append((*tried[quality], f"{SEND_JPEG}, quality {quality}, {subsampling}"))
    if not found:
        raise FeatureError(f"JPEG of quality 100 changes more than {max_drop:g} of the answers")
    payload_bytes, drop, name = min(found)
    return Candidate(name, 0, macs, payload_bytes=payload_bytes, accuracy_drop=drop)


def _answer(outputs: Sequence[Array]) -> int | None:
    first = np.asarray(outputs[0])
    return int(first.argmax()) if first.size > 1 else None


def _changed(got: Sequence[int | None], answers: Sequence[int]) -> float:
    return sum(a != b for a, b in zip(got, answers)) / len(answers)
