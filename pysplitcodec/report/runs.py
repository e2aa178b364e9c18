"""Trainings of split models, compared: runs that differ by their seeds alone become one row."""

from __future__ import annotations

import itertools
import json
import os
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pysplitcodec.errors import ArgumentError
from pysplitcodec.report.run_schema import (
    FORMAT,
    MEASURED,
    ORIGIN,
    SCORES,
    SHARED,
    Row,
    Run,
    checked_row,
    checked_run,
    load,
)

# In this order in tables; others come after them, by name.
_METHODS = ("minmax", "kmeans", "bnn+", "bottlenet", "qat", "rate", "tcl")
# Of methods, as they come; legible on light and dark ground, and apart for the colour-blind.
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7a5cc9",
    "#8c6d31",
    "#94a000",
    "#888888",
)


def read_rows(paths: Iterable[str | os.PathLike[str]]) -> list[Row]:
    """The rows of runs, sorted: by data set, model, depth of the split point, width and method.

    paths: folders with a run.json in them or in folders below, such files, and files that
    `write_rows` wrote.  A row has the keys of run.json, docs/train-report.md, where each number
    that was measured is {"mean", "deviation", "low", "high"} over the seeds; the sample standard
    deviation is None where there is one seed.  "runs" lists where each seed's figures come from.

    Raises ArgumentError for files that are none of these, for folders without any, and where the
    same seed of the same row is there twice.
    """
    files = list(dict.fromkeys(file.resolve() for path in paths for file in _files(Path(path))))
    rows: list[Row] = []
    runs: list[tuple[Path, Run]] = []
    for file in files:
        found = load(file)
        if "rows" in found:
            rows += _published(found["rows"], file)
        else:
            runs.append((file, checked_run(found, str(file))))
    rows += [_row(group) for group in _grouped(runs)]
    _refuse_twins(rows)
    depths = {(_subject(row), row["split"]): row["head"]["macs"] for row in rows}
    return sorted(rows, key=lambda row: _place(row, depths[_subject(row), row["split"]]))


def write_rows(rows: Sequence[Row], path: str | os.PathLike[str]) -> None:
    """Write rows to a file that `read_rows` reads.  Raises OSError if that cannot be done."""
    text = json.dumps({"format": FORMAT, "rows": rows}, indent=1)
    Path(path).write_text(text + "\n", encoding="utf-8")


def score(row: Row) -> dict[str, Any]:
    """The spread of the first metric at the end: after the tail was retrained, if it was."""
    last = next(row[key] for key in SCORES if row[key] is not None)
    found: dict[str, Any] = last[row["metrics"][0]]
    return found


def coder_of(row: Row, coder: str) -> str | None:
    """The coder of a row's features: `coder`, or of BottleNet and the like the one they have.

    None where nothing is sent.
    """
    return coder if coder in row["bytes"] else next(iter(row["bytes"]), None)


def coders(rows: Sequence[Row]) -> list[str]:
    """The coders of indices that rows were measured with; of whatever is sent if there are none."""
    indexed = dict.fromkeys(name for row in rows if row["bits"] for name in row["bytes"])
    return list(indexed or dict.fromkeys(name for row in rows for name in row["bytes"]))


def seeds(row: Row) -> list[int]:
    """The seeds of a row, ascending."""
    return [run["seed"] for run in row["runs"]]


def labels(rows: Sequence[Row]) -> list[str]:
    """For each row its method, with what tells it from other rows of the method.

    That is written only where the method was tried in several ways at one split point and width,
    and then in all rows of the method.
    """
    cells: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        cell = (_subject(row), row["split"], row["bits"], row["method"])
        cells.setdefault(cell, []).append(_variant(row))
    telling: dict[str, list[str]] = {}
    for (*_, method), variants in cells.items():
        names = dict.fromkeys(name for variant in variants for name in variant)
        differ = [
            name for name in names if any(v.get(name) != variants[0].get(name) for v in variants)
        ]
        telling[method] = list(dict.fromkeys([*telling.get(method, []), *differ]))
    return [
        " ".join([row["method"], *_told(_variant(row), telling[row["method"]])]) for row in rows
    ]


class Subject(NamedTuple):
    """Rows that may be compared: of one data set and model.

    labels: one for each row.  colours: of the labels of rows that are split, the same in every
    subject; after ten they come again.
    """

    title: str
    rows: list[Row]
    labels: list[str]
    colours: dict[str, str]


def subjects(rows: Sequence[Row]) -> list[Subject]:
    """The subjects of rows, in their order."""
    named = labels(rows)
    split = dict.fromkeys(label for row, label in zip(rows, named) if row["split"] is not None)
    colours = dict(zip(split, itertools.cycle(_COLOURS)))
    groups: dict[tuple[Any, ...], list[tuple[Row, str]]] = {}
    for row, label in zip(rows, named):
        groups.setdefault(_subject(row), []).append((row, label))
    return [
        Subject(
            f"{model} on {name} ({train:,} + {test:,} samples)",
            [row for row, _ in group],
            [label for _, label in group],
            {label: colours[label] for _, label in group if label in colours},
        )
        for (name, train, test, model, *_), group in groups.items()
    ]


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, sample standard deviation (None of one value), least and greatest."""
    return {
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "low": min(values),
        "high": max(values),
    }


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.rglob("run.json"))
    if not found:
        raise ArgumentError(f"{path} has no run.json in it: expected folders of runs")
    return found


def _published(found: Any, file: Path) -> Iterator[Row]:
    if not isinstance(found, list):
        raise ArgumentError(f"{file}: rows is no list")
    for number, row in enumerate(found):
        yield checked_row(row, f"{file}: row {number}")


def _grouped(runs: Sequence[tuple[Path, Run]]) -> list[list[Run]]:
    groups: dict[str, dict[int, tuple[Path, Run]]] = {}
    for file, run in runs:
        group = groups.setdefault(_key(run), {})
        if run["seed"] in group:
            raise ArgumentError(
                f"{file}: seed is {run['seed']}, as in {group[run['seed']][0]}, and all "
                "settings are the same: expected one run of each seed"
            )
        group[run["seed"]] = file, run
    return [[group[seed][1] for seed in sorted(group)] for group in groups.values()]


def _key(row: Row | Run) -> str:
    return json.dumps([row[name] for name in SHARED], sort_keys=True)


def _row(runs: Sequence[Run]) -> Row:
    return {
        **{key: runs[0][key] for key in SHARED},
        **{key: _spreads([run[key] for run in runs]) for key in MEASURED},
        "runs": [{key: run[key] for key in ORIGIN} for run in runs],
    }


def _spreads(values: Sequence[Any]) -> Any:
    """Spreads of numbers, or of each number in objects that have it in every run."""
    if any(value is None for value in values):
        return None
    if isinstance(values[0], dict):
        kept = [key for key in values[0] if all(v.get(key) is not None for v in values)]
        return {key: spread([value[key] for value in values]) for key in kept}
    return spread(values)


def _refuse_twins(rows: Sequence[Row]) -> None:
    known: set[str] = set()
    for row in rows:
        if _key(row) in known:
            raise ArgumentError(
                f"{row['method']} of {row['model']} at {row['split']} with {row['bits']} bits and "
                "the same settings is there twice, in rows and in other rows or runs"
            )
        known.add(_key(row))


def _subject(row: Row) -> tuple[Any, ...]:
    data = row["data"]
    named = data["name"], data["train"], data["test"], row["model"]
    return *named, tuple(row["metrics"]), json.dumps(data, sort_keys=True)


def _place(row: Row, depth: int) -> tuple[Any, ...]:
    method = row["method"]
    known = _METHODS.index(method) if method in _METHODS else len(_METHODS)
    split, bits = row["split"], row["bits"] or 0
    return _subject(row), split is not None, depth, split or "", bits, known, method, _key(row)


def _variant(row: Row) -> dict[str, Any]:
    """All that may differ between rows of a method at one split point and width, by name."""
    variant = dict(row["settings"])
    for key in SHARED:
        if key in ("data", "model", "metrics", "split", "bits", "method", "settings"):
            continue
        if isinstance(row[key], dict):
            variant.update({f"{name} {key}": value for name, value in row[key].items()})
        else:
            variant[key] = row[key]
    return variant


def _told(variant: dict[str, Any], names: Sequence[str]) -> list[str]:
    told = (f"{name}={_setting(variant[name])}" for name in names if name in variant)
    text = ", ".join(told)
    return [f"({text})"] if text else []


def _setting(value: Any) -> str:
    """As text; of parts, which are tables, the name and what else they say."""
    if isinstance(value, dict):
        rest = ", ".join(f"{k}={_setting(v)}" for k, v in value.items() if k != "name")
        return f"{value.get('name', '')}({rest})" if rest else str(value.get("name", ""))
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return " + ".join(map(_setting, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)
