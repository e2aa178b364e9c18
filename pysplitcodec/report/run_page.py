"""Compared trainings as one HTML file that works offline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pysplitcodec
from pysplitcodec.report.page import compose
from pysplitcodec.report.run_latency import RATES, Latencies
from pysplitcodec.report.run_schema import SCORES, Row
from pysplitcodec.report.runs import coder_of, coders, score, seeds, subjects

_SCRIPTS = ("runs_marks.js", "runs_charts.js", "runs_tables.js", "runs_detail.js", "runs.js")


def page(rows: Sequence[Row], latencies: Latencies, coder: str) -> str:
    """The HTML page of rows, complete in itself.  coder: whose bytes it shows at first."""
    groups = subjects(rows)
    names = coders(rows) or [coder]
    points = [
        _point(row, label, number, names, latencies)
        for number, subject in enumerate(groups)
        for row, label in zip(subject.rows, subject.labels)
    ]
    report = {
        "subjects": [{"title": group.title, "colours": group.colours} for group in groups],
        "device": latencies.device.name,
        "uncounted": {name: latencies.uncounted(rows, name) for name in names},
        "rates": RATES,
        "coders": names,
        "coder": coder,
        "rows": [{"index": index, **point} for index, point in enumerate(points)],
        "version": pysplitcodec.__version__,
    }
    return compose("Trainings compared", "runs", _SCRIPTS, report)


def write_page(
    rows: Sequence[Row], latencies: Latencies, coder: str, path: str | os.PathLike[str]
) -> None:
    """Write `page(rows, ...)` to the file `path`.  Raises OSError if that cannot be done."""
    Path(path).write_text(page(rows, latencies, coder), encoding="utf-8")


def _point(
    row: Row, label: str, subject: int, names: Sequence[str], latencies: Latencies
) -> dict[str, Any]:
    """A row as the scripts take it; `sent` is by the coder that is asked for."""
    metric = row["metrics"][0]
    return {
        **{key: row[key] for key in ("data", "model", "split", "bits", "method", "settings")},
        **{key: row[key] for key in ("bottleneck", "feature_shape", "epochs", "head", "batch")},
        "subject": subject,
        "label": label,
        "metric": metric,
        "score": score(row),
        "scores": {key: row[key] for key in SCORES},
        "before": row["quantized"] and row["quantized"][metric],
        "bytes": row["bytes"],
        "sent": {name: _sent(row, name, latencies) for name in names},
        "step_s": row["step_s"],
        "seeds": seeds(row),
        "runs": row["runs"],
    }


def _sent(row: Row, coder: str, latencies: Latencies) -> dict[str, Any]:
    used = coder_of(row, coder)
    return {
        "coder": used,
        "bytes": None if used is None else row["bytes"][used],
        "latency": [_milliseconds(row, coder, rate, latencies) for rate in RATES],
    }


def _milliseconds(row: Row, coder: str, rate: int, latencies: Latencies) -> dict[str, float]:
    found = latencies.of(row, coder, rate)
    return {
        "compute": 1e3 * found.compute_s,
        "codec": 1e3 * found.codec_s,
        "link": 1e3 * found.link_s,
        "total": 1e3 * found.latency_s,
    }
