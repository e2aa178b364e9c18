"""The figures that docs/results/tcl.md claims, worked out of its rows.

    python bench/tcl_claims.py docs/results/tcl.json

For each data set: what each method gains over k-means with the same retraining of the tail, what
it loses against float, and how many bytes it sends, all as means over split points; "over seeds" is
the root mean square, over split points, of the sample standard deviations from seed to seed.  Then
features sent as JPEG, which have no bits to compare, by split point.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pysplitcodec.report.runs import labels, read_rows

Row = dict[str, Any]


def main() -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, nargs="+", help="rows.json, or folders of runs")
    rows = read_rows(parser.parse_args().rows)
    jpeg = [row for row in rows if row["method"] == "bottlenet"]
    rows = [row for row in rows if row["bits"] is not None]
    subjects = list(dict.fromkeys((row["data"]["name"], row["model"]) for row in rows))
    for name, model in subjects:
        here = [r for r in rows if (r["data"]["name"], r["model"]) == (name, model)]
        print(f"### {name}, {model}\n")
        print_subject(here)
    if jpeg:
        print("### BottleNet\n")
        print_jpeg(jpeg)


def print_jpeg(rows: list[Row]) -> None:
    """A line for each split point and quality, the smallest quality first."""
    print(
        "| model | after | quality | accuracy | over seeds | lost against float | JPEG bytes |\n"
        + "|---" * 7
        + "|"
    )
    for row in sorted(rows, key=lambda r: (r["model"], r["split"], r["settings"]["quality"])):
        got, spread = value(row, "retrained"), deviation(row)
        cells = [row["model"], f"`{row['split']}`", str(row["settings"]["quality"])]
        cells += [f"{100 * got:.2f}", "-" if spread is None else f"{100 * spread:.2f}"]
        cells += [f"{100 * (value(row, 'float') - got):.2f}", f"{coded(row, 'jpeg'):.1f}"]
        print("| " + " | ".join(cells) + " |")


def print_subject(rows: list[Row]) -> None:
    """One table: a line for each method and width that all split points have."""
    splits = {row["split"] for row in rows}
    base = {(r["split"], r["bits"]): r for r in rows if r["method"] == "kmeans"}
    plainest = sorted(rows, key=lambda r: -len(r["settings"]))
    tcl = {(r["split"], r["bits"]): r for r in plainest if r["method"] == "tcl"}
    print(
        "| bits | method | accuracy | over seeds | gain over k-means | lost against float "
        "| LZMA bytes | context bytes | context / TCL's LZMA |\n" + "|---" * 9 + "|"
    )
    names = labels(rows)
    for bits in sorted({row["bits"] for row in rows}):
        for label in dict.fromkeys(names):
            same = [r for r, name in zip(rows, names) if r["bits"] == bits and name == label]
            if {row["split"] for row in same} != splits or (
                any((split, bits) not in base or (split, bits) not in tcl for split in splits)
            ):
                continue
            print(line(bits, label, same, base, tcl))
    print()


def line(bits: int, label: str, rows: list[Row], base: Any, tcl: Any) -> str:
    """One line of the table."""
    got = {row["split"]: value(row, "retrained") for row in rows}
    gain = mean(got[r["split"]] - value(base[r["split"], bits], "retrained") for r in rows)
    lost = mean(value(base[r["split"], bits], "float") - got[r["split"]] for r in rows)
    spread = [deviation(row) for row in rows]
    shown = "-" if None in spread else f"{100 * math.sqrt(mean(s * s for s in spread)):.2f}"  # type: ignore[operator]
    cells = [str(bits), label, f"{100 * mean(got.values()):.2f}", shown]
    cells += [f"{100 * gain:+.2f}", f"{100 * lost:.2f}"]
    if "lzma" in rows[0]["bytes"]:
        cells += [f"{mean(coded(row, coder) for row in rows):.1f}" for coder in ("lzma", "context")]
        ratio = mean(coded(r, "context") / coded(tcl[r["split"], bits], "lzma") for r in rows)
        cells.append(f"{ratio:.3f}")
    else:
        cells += ["-", "-", "-"]
    return "| " + " | ".join(cells) + " |"


def value(row: Row, key: str) -> float:
    """The mean over seeds of the first metric."""
    found: float = row[key][row["metrics"][0]]["mean"]
    return found


def deviation(row: Row) -> float | None:
    """Its deviation over seeds, None where there is one."""
    found: float | None = row["retrained"][row["metrics"][0]]["deviation"]
    return found


def coded(row: Row, coder: str) -> float:
    """The mean over seeds of a sample's bytes."""
    found: float = row["bytes"][coder]["mean"]
    return found


def mean(values: Iterable[float]) -> float:
    """Of numbers."""
    return statistics.fmean(values)


if __name__ == "__main__":
    main()
