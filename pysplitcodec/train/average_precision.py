"""How well objects are found, as COCO measures it, by its own package pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pysplitcodec.errors import ArgumentError, MissingDependencyError

DETECTIONS = 100  # the best of an image; what else is found does not count


def average_precision(
    found: Sequence[NDArray[Any]], targets: Sequence[NDArray[Any]]
) -> dict[str, float]:
    """Mean over classes of COCO's average precision (101 recalls, all areas), from 0 to 1.

    found: per image [any, 6]: class, x0, y0, x1, y1, score.  targets: per image [any, 5]: class,
    x0, y0, x1, y1; classes below 0 are padding.  Classes without a target do not count.

    Gives "mAP50", where boxes match from an IoU of 0.5 on, and "mAP50-95", the mean over 0.50,
    0.55 ... 0.95.  Raises ArgumentError if there is nothing to be found, MissingDependencyError
    without pycocotools.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingDependencyError(
            f"measuring detections needs pycocotools: pip install 'pysplitcodec[train]' ({error})"
        ) from None
    if not any((objects[:, 0] >= 0).any() for objects in targets):
        raise ArgumentError("targets have no object: average precision is not defined")
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on all that it does
        truth, answers = COCO(), COCO()
        truth.dataset = _dataset(targets)
        answers.dataset = _dataset(found)
        truth.createIndex()
        answers.createIndex()
        evaluation = COCOeval(truth, answers, "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # [IoUs, recalls, classes, 1, 1]; -1: no targets
    precision = precision[:, :, precision[0, 0, :, 0, 0] >= 0]
    return {"mAP50": float(precision[0].mean()), "mAP50-95": float(precision.mean())}


def _dataset(images: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Boxes [any, 5] or, with scores, [any, 6] as COCO's files have them."""
    annotations: list[dict[str, Any]] = []
    for image, rows in enumerate(images):
        rows = rows[rows[:, 0] >= 0].astype(np.float64)
        for kind, x0, y0, x1, y1, *score in rows.tolist():
            width, height = x1 - x0, y1 - y0
            annotations.append(
                {
                    "id": len(annotations) + 1,  # 0 would mean: not matched
                    "image_id": image,
                    "category_id": int(kind),
                    "bbox": [x0, y0, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": score[0] if score else 1.0,
                }
            )
    kinds = sorted({a["category_id"] for a in annotations})
    return {
        "images": [{"id": image} for image in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": kind} for kind in kinds],
    }
