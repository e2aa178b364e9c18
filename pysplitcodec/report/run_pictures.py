"""Pictures of compared trainings: accuracy against latency, and against coded bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pysplitcodec.errors import MissingDependencyError
from pysplitcodec.report.run_latency import RATES, Latencies
from pysplitcodec.report.run_schema import Row
from pysplitcodec.report.runs import Subject, coder_of, score, subjects

_MARKERS = dict(zip([None, *range(1, 9)], "XosD^vPhp"))
_AREA = 35, 190  # of a blob, in square points: of the smallest head, and of the greatest
_FORMATS = ("png", "svg")


def draw_pictures(
    rows: Sequence[Row], latencies: Latencies, coder: str, folder: Path
) -> list[Path]:
    """Draw both pictures of each data set and model, as PNG and SVG.  Gives the files.

    Raises MissingDependencyError without matplotlib, OSError if a file cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "drawing needs matplotlib: pip install 'pysplitcodec[plot]'"
        ) from None
    written = []
    for subject in subjects(rows):
        first = subject.rows[0]
        named = re.sub(r"[^\w.-]+", "-", f"{first['data']['name']}-{first['model']}")
        for what in ("latency", "bytes"):
            # names are no formulas; the same rows give the same file
            with matplotlib.rc_context({"text.parse_math": False, "svg.hashsalt": "splitcodec"}):
                figure = Figure(layout="constrained")
                FigureCanvasAgg(figure)
                if what == "latency":
                    _draw_latency(figure, subject, latencies, coder)
                else:
                    _draw_bytes(figure, subject, coder)
                figure.suptitle(subject.title)
                for kind in _FORMATS:
                    path = folder / f"{what}-{named}.{kind}"
                    figure.savefig(path, dpi=120, metadata={"Date": None} if kind == "svg" else {})
                    written.append(path)
    return written


def _draw_latency(figure: Any, subject: Subject, latencies: Latencies, coder: str) -> None:
    """Four links; a blob is as large as the head it stands for, as in the paper's Figures 3-5."""
    figure.set_size_inches(13, 9)
    rows = subject.rows
    most = max(row["head"]["parameters"] for row in rows) or 1
    uncounted = latencies.uncounted(rows, coder)
    without = f" (without coding of {', '.join(uncounted)})" if uncounted else ""
    panels = figure.subplots(2, 2, sharey=True).flat
    for axes, rate in zip(panels, RATES):
        for row, label in zip(rows, subject.labels):
            x = 1e3 * latencies.of(row, coder, rate).latency_s
            y = 100 * score(row)["mean"]
            if row["split"] is None:
                name = "default" if row["method"] == "on-device" else row["method"]
                axes.plot(x, y, "k*", markersize=13, zorder=5)
                axes.annotate(
                    name, (x, y), textcoords="offset points", xytext=(0, 9), ha="center", zorder=5
                )
                continue
            axes.scatter(
                x,
                y,
                s=_area(row["head"]["parameters"] / most),
                color=subject.colours[label],
                marker=_MARKERS[row["bits"]],
                alpha=0.8,
                edgecolors="white",
                linewidths=0.6,
                zorder=3 - row["head"]["parameters"] / most,  # small ones stay in sight
            )
        axes.margins(x=0.09, y=0.1)
        axes.set_xscale("log")
        axes.set_title(f"{rate / 1e6:g} Mbit/s", fontsize=10)
        axes.set_xlabel(f"latency on {latencies.device.name} / ms{without}")
        axes.set_ylabel(f"{rows[0]['metrics'][0]} / %")
        _finish(axes)
    _legend(figure, subject, sizes=most)


def _draw_bytes(figure: Any, subject: Subject, coder: str) -> None:
    """A panel for each split point; widths of a method are joined, bars are one deviation."""
    rows = subject.rows
    splits = list(dict.fromkeys(row["split"] for row in rows if row["split"] is not None))
    figure.set_size_inches(max(7.0, 4.4 * len(splits) + 1.8), 5.2)
    metric = rows[0]["metrics"][0]
    whole = max(row["whole"][metric]["mean"] for row in rows)
    panels = figure.subplots(1, max(1, len(splits)), sharey=True, squeeze=False)[0]
    for axes, split in zip(panels, splits):
        lines: dict[str, list[Row]] = {}
        for row, label in zip(rows, subject.labels):
            if row["split"] == split and coder_of(row, coder):
                lines.setdefault(label, []).append(row)
        for label, line in lines.items():
            sizes = [row["bytes"][coder_of(row, coder)] for row in line]
            scores = [score(row) for row in line]
            x, y = [s["mean"] for s in sizes], [100 * s["mean"] for s in scores]
            axes.errorbar(
                x,
                y,
                xerr=[s["deviation"] or 0 for s in sizes],
                yerr=[100 * (s["deviation"] or 0) for s in scores],
                color=subject.colours[label],
                linewidth=1,
                elinewidth=1,
                capsize=2,
            )
            for row, *place in zip(line, x, y):
                axes.plot(
                    *place, _MARKERS[row["bits"]], color=subject.colours[label], markersize=6.5
                )
        axes.axhline(100 * whole, color="grey", linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.set_title(f"split at {split}", fontsize=10)
        axes.set_xlabel(f"bytes per sample, {coder}")
        axes.set_ylabel(f"{metric} / %, dashed: whole model")
        _finish(axes)
    _legend(figure, subject)


def _area(share: float) -> float:
    low, high = _AREA
    return low + (high - low) * share


def _finish(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelleft=True)
    axes.grid(alpha=0.3)


def _legend(figure: Any, subject: Subject, sizes: int = 0) -> None:
    """Colours, shapes and, with `sizes` parameters of the greatest head, sizes."""
    from matplotlib.lines import Line2D

    def mark(label: str, marker: str, color: str, area: float = 60) -> Any:
        size = area**0.5
        return Line2D(
            [], [], linestyle="", marker=marker, color=color, markersize=size, label=label
        )

    marks = [mark(label, "o", shade) for label, shade in subject.colours.items()]
    split = [row for row in subject.rows if row["split"] is not None]
    widths = dict.fromkeys(row["bits"] for row in split)
    marks += [
        mark("no codebook" if bits is None else f"{bits} bit", _MARKERS[bits], "grey")
        for bits in widths
    ]
    if sizes:
        heads = dict.fromkeys((row["split"], row["head"]["parameters"]) for row in split)
        marks += [
            mark(f"{name}: {count / 1e3:,.0f} k param.", "o", "lightgrey", _area(count / sizes))
            for name, count in heads
        ]
    if marks:
        figure.legend(handles=marks, loc="outside right center", fontsize=9, labelspacing=0.8)
