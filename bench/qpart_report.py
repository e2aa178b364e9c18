"""The tables and pictures of docs/results/qpart.md, out of its rows.

    python bench/qpart_report.py docs/results/qpart.json --pictures docs/images

A picture for each subject has QPART's Figures 3 and 5 to 10 as they came out here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Row = dict[str, Any]

SHIPPED = ("qpart", "uniform", "unoptimised", "pruning", "autoencoder")  # with their weights
SHOWN_DROP = 0.01


def main() -> None:
    """Print Markdown, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder")
    args = parser.parse_args()
    known = json.loads(args.rows.read_text())
    for about in known["subjects"]:
        rows = [row for row in known["rows"] if row["subject"] == about["subject"]]
        print(f"### {about['subject']}: {about['model']}, {about['data']}\n")
        print_sent(rows)
        print_objectives(rows)
        print_alone(rows)
        print_amortised(rows)
        gap = about["closed_form"]
        print(
            f"Closed form, rounded, over the exact optimum, bits at equal noise: mean "
            f"{gap['mean']:.4f}, worst {gap['worst']:.4f} of {gap['problems']} problems.\n"
        )
        if args.pictures is not None:
            draw(rows, about, args.pictures / f"qpart-{about['subject']}.svg")


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print()


def sent_bytes(row: Row) -> float:
    """Weights and feature."""
    total: float = row["head_bytes"] + row["payload_bytes"]
    return total


def at(rows: Iterable[Row], scheme: str, drop: float | None = None) -> dict[str, Row]:
    """Rows of a scheme by split point; those that lose nothing have a drop of 0."""
    return {
        row["split"]: row
        for row in rows
        if row["scheme"] == scheme and (drop is None or row["drop"] in (drop, 0.0))
    }


def print_sent(rows: Sequence[Row]) -> None:
    """What is sent, against float32, by accuracy drop."""
    plain = at(rows, "unoptimised")
    lines = []
    for scheme in ("qpart", "exact", "uniform", "qpart+range"):
        for drop in sorted({row["drop"] for row in rows if row["scheme"] == scheme}):
            found = at(rows, scheme, drop)
            shares = [sent_bytes(row) / sent_bytes(plain[name]) for name, row in found.items()]
            lost = [row["test_drop"] for row in found.values()]
            lines.append(
                (
                    scheme,
                    f"{100 * drop:g}",
                    f"{100 * min(shares):.1f} to {100 * max(shares):.1f}",
                    f"{50 * max(shares):.1f}",
                    f"{100 * sum(lost) / len(lost):.2f}",
                    f"{100 * max(lost):.2f}",
                    f"{len(found)} of {len(plain)}",
                )
            )
    columns = (
        "widths",
        "points allowed",
        "% of float32",
        "% of float64, most",
        "points lost, test",
        "most",
        "split points",
    )
    table(columns, lines)


def print_objectives(rows: Sequence[Row]) -> None:
    """Eq. 17 at every split point, and test accuracy, at one accuracy drop."""
    found = {scheme: at(rows, scheme, SHOWN_DROP) for scheme in SHIPPED}
    for title, cell in (
        ("objective", lambda row: f"{row['objective']:.4f}"),
        ("test accuracy, %", lambda row: f"{100 * row['test_accuracy']:.2f}"),
        ("kB sent", lambda row: f"{sent_bytes(row) / 1e3:.1f}"),
    ):
        columns = (title, *SHIPPED)
        lines = [
            (name, *(cell(of[name]) if name in of else "-" for of in found.values()))
            for name in found["unoptimised"]
        ]
        table(columns, lines)


def print_alone(rows: Sequence[Row]) -> None:
    """Ways that send no weights, and not splitting, at one accuracy drop."""
    lines = []
    for scheme in ("neurosurgeon", "jalad", "jpeg", "on-device"):
        found = list(at(rows, scheme, SHOWN_DROP).values())
        if found:
            best = min(found, key=lambda row: row["objective"])
            lines.append(
                (
                    scheme,
                    best["split"],
                    f"{best['objective']:.5f}",
                    f"{1e3 * best['latency_s']:.3f}",
                    f"{sent_bytes(best) / 1e3:.3f}",
                    f"{100 * best['test_accuracy']:.2f}",
                )
            )
    table(("scheme", "best at", "objective", "ms", "kB sent", "test accuracy, %"), lines)


def print_amortised(rows: Sequence[Row]) -> None:
    """The least objective of each scheme where weights are sent once for several inputs."""

    def shared(row: Row, inputs: int) -> float:
        once: float = (row["ship_s"] + row["ship_j"]) * (1 - 1 / inputs)
        return float(row["objective"]) - once

    schemes = (*SHIPPED, "on-device", "jpeg")
    lines = []
    for inputs in (1, 2, 10, 100, 1000):
        cells = []
        for scheme in schemes:
            found = at(rows, scheme, SHOWN_DROP).values()
            best = min(found, key=lambda row: shared(row, inputs), default=None)
            cells.append("-" if best is None else f"{shared(best, inputs):.5f}")
        lines.append((f"{inputs}", *cells))
    table(("inputs for one sending of weights", *schemes), lines)


def draw(rows: Sequence[Row], about: Row, path: Path) -> None:
    """Figures 3 and 5 to 10 in one picture."""
    # the same rows give the same file, with text as text
    with matplotlib.rc_context({"svg.hashsalt": "splitcodec", "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 12), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(4, 2).flatten()
        splits = list(at(rows, "unoptimised"))
        draw_layers(axes[0], at(rows, "qpart", SHOWN_DROP)[splits[-1]])
        draw_parts(axes[1], at(rows, "qpart", SHOWN_DROP), splits)
        draw_sizes(axes[2], rows, splits[-1])
        for place, title, of in (
            (3, "Fig. 7: objective (Eq. 17)", lambda row: row["objective"]),
            (4, "Fig. 8: energy of the device, J", lambda row: row["energy_j"]),
            (5, "Fig. 9: time, s", lambda row: row["latency_s"]),
            (6, "Fig. 10: weights and feature sent, bytes", sent_bytes),
        ):
            draw_schemes(axes[place], rows, splits, title, of)
        axes[7].axis("off")
        axes[7].legend(*axes[6].get_legend_handles_labels(), loc="center", title="Fig. 7 to 10")
        figure.suptitle(
            f"{about['model']}, {about['data']}: QPART's figures at {100 * SHOWN_DROP:g} point "
            "allowed, parameters of its Table II",
            fontsize=10,
        )
        figure.savefig(path, metadata={"Date": None})


def draw_layers(axes: Any, row: Row) -> None:
    """Figure 3: what is saved of each layer's weights, against float32."""
    saved = [100 * (1 - bits / 32) for bits in row["weight_bits"].values()]
    axes.bar(range(len(saved)), saved, color="#3b6ea5")
    axes.set(title="Fig. 3: bits saved of each layer, % of float32", xlabel="layer", ylim=(0, 100))


def draw_parts(axes: Any, found: dict[str, Row], splits: Sequence[str]) -> None:
    """Figure 5: time, energy and price by split point, each against its own greatest."""
    for name, label in (("latency_s", "time"), ("energy_j", "energy"), ("price", "server's price")):
        values = [found[split][name] if split in found else float("nan") for split in splits]
        most = max(value for value in values if value == value) or 1.0
        axes.plot(splits, [value / most for value in values], marker="o", label=label)
    axes.set(title="Fig. 5: QPART, each against its greatest", xlabel="split point", ylim=(0, 1.05))
    axes.legend()
    turn(axes, splits)


def draw_sizes(axes: Any, rows: Sequence[Row], split: str) -> None:
    """Figure 6: size of the head against the accuracy that may be lost."""
    for scheme in ("qpart", "uniform", "qpart+range"):
        found = sorted(
            (row["drop"], row["head_bytes"])
            for row in rows
            if row["scheme"] == scheme and row["split"] == split
        )
        axes.plot([100 * d for d, _ in found], [b / 1e3 for _, b in found], "o-", label=scheme)
    axes.set(
        title=f"Fig. 6: weights before {split}, kB",
        xlabel="points that may be lost",
        ylim=(0, None),
    )
    axes.legend()


def draw_schemes(
    axes: Any, rows: Sequence[Row], splits: Sequence[str], title: str, of: Callable[[Row], float]
) -> None:
    """Figures 7 to 10: schemes by split point."""
    for scheme, line in zip(SHIPPED, ("o-", "x--", "s-", "^-", "d:")):
        found = at(rows, scheme, SHOWN_DROP)
        values = [of(found[split]) if split in found else float("nan") for split in splits]
        axes.plot(splits, values, line, label=scheme, markersize=5)
    axes.set(title=title, xlabel="split point", ylim=(0, None))
    turn(axes, splits)


def turn(axes: Any, splits: Sequence[str]) -> None:
    """Turn names of split points that would run into one another."""
    if max(map(len, splits)) > 3:
        axes.tick_params("x", rotation=60)


if __name__ == "__main__":
    main()
