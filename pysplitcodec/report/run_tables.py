"""The tables of compared trainings: accuracy and bytes, speed-up, and where figures come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from pysplitcodec.report.run_latency import Latencies
from pysplitcodec.report.run_schema import Row
from pysplitcodec.report.runs import Subject, coder_of, labels, score, seeds, subjects

_MISSING = "-"


class Table(NamedTuple):
    """Text for people.  notes: lines that belong under it."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


def result_tables(rows: Sequence[Row], coder: str) -> list[Table]:
    """Per data set and model: accuracy before and after the tail was retrained, and coded bytes.

    A line is a method at a width, as in the paper's Table 1; columns are split points.
    """
    tables = []
    for subject in subjects(rows):
        metric = subject.rows[0]["metrics"][0]
        columns = (f"{metric} %", "not retrained", f"{coder} B")

        def cells(row: Row, metric: str = metric) -> list[str]:
            before = row["quantized"] and row["quantized"][metric]
            return [percent(score(row)), percent(before), _bytes(row, coder)]

        tables.append(_by_split(subject, "", columns, cells, _unsplit_notes(subject.rows, coder)))
    return tables


def speed_tables(rows: Sequence[Row], latencies: Latencies, coder: str, rate: int) -> list[Table]:
    """Per data set and model: latency, and how many times that all on one side takes.

    A line is a method at a width; for each split point it says milliseconds, and the speed-up over
    all on the server and all on the device, as in the paper's Table 2.  rate: bit/s.
    """
    tables = []
    for subject in subjects(rows):
        whole: dict[str, float] = {}
        for row in subject.rows:
            if row["split"] is None:
                whole.setdefault(row["method"], 1e3 * latencies.of(row, coder, rate).latency_s)

        def cells(row: Row, whole: dict[str, float] = whole) -> list[str]:
            took = 1e3 * latencies.of(row, coder, rate).latency_s
            compared = [whole.get(name) for name in ("on-server", "on-device")]
            return [
                f"{took:.2f}",
                *(_MISSING if c is None else f"{c / took:.2f}" for c in compared),
            ]

        notes = [f"{name}: {took:.2f} ms" for name, took in whole.items()]
        notes += [
            f"time to code is not counted: {c}" for c in latencies.uncounted(subject.rows, coder)
        ]
        device = latencies.device.name
        heading = f": speed-up at {rate / 1e6:g} Mbit/s on {device}, {coder}"
        columns = ("ms", "x server", "x device")
        tables.append(_by_split(subject, heading, columns, cells, notes))
    return tables


def origin_table(rows: Sequence[Row]) -> Table:
    """Where the figures of each row come from."""
    lines = []
    for row, label in zip(rows, labels(rows)):
        commits = dict.fromkeys(run["commit"] or _MISSING for run in row["runs"])
        commands = dict.fromkeys(run["command"] for run in row["runs"])
        lines.append(
            [
                row["data"]["name"],
                row["model"],
                row["split"] or _MISSING,
                _width(row),
                label,
                _seeds_text([row]),
                ", ".join(f"{stage} {count:g}" for stage, count in row["epochs"].items()),
                ", ".join(commits),
                "; ".join(commands),
            ]
        )
    columns = ["data", "model", "split", "bits", "method", "seeds", "epochs", "commit", "command"]
    return Table("Where the figures come from", columns, lines, [])


def markdown(tables: Iterable[Table]) -> str:
    """Tables as GitHub's Markdown."""
    parts = []
    for table in tables:
        head = [" ".join(column.split("\n")) for column in table.columns]
        lines = [head, ["---"] * len(head), *table.rows]
        text = "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)
        notes = "".join(f"\n{note}  " for note in table.notes)
        parts.append(f"## {table.title}\n\n{text}\n{notes}")
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def percent(spread: dict[str, Any] | None) -> str:
    """A share in percent: mean, and sample standard deviation where there is one."""
    if spread is None:
        return _MISSING
    deviation = spread["deviation"]
    tail = "" if deviation is None else f" ± {100 * deviation:.2f}"
    return f"{100 * spread['mean']:.2f}{tail}"


def _by_split(
    subject: Subject,
    heading: str,
    columns: Sequence[str],
    cells: Callable[[Row], list[str]],
    notes: list[str],
) -> Table:
    """One line per width and method, and `columns` with `cells` for each split point."""
    splits = dict.fromkeys(row["split"] for row in subject.rows if row["split"] is not None)
    lines: dict[tuple[str, str], dict[str, Row]] = {}
    for row, label in zip(subject.rows, subject.labels):
        if row["split"] is not None:
            lines.setdefault((_width(row), label), {})[row["split"]] = row
    order = sorted(lines, key=lambda line: line[0])  # stable: methods stay in order
    return Table(
        subject.title + heading,
        ["bits", "method", "seeds", *(f"{split}\n{name}" for split in splits for name in columns)],
        [
            [
                *line,
                _seeds_text(lines[line].values()),
                *(
                    cell
                    for split in splits
                    for cell in (
                        cells(lines[line][split])
                        if split in lines[line]
                        else [_MISSING] * len(columns)
                    )
                ),
            ]
            for line in order
        ],
        notes,
    )


def _unsplit_notes(rows: Sequence[Row], coder: str) -> list[str]:
    """What the whole models do: a line for each, and for the float model of all runs."""
    metric = rows[0]["metrics"][0]
    means = [row["whole"][metric]["mean"] for row in rows]
    low, high = 100 * min(means), 100 * max(means)
    span = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
    notes = [f"whole model, float: {metric} {span} %"]
    for row in rows:
        if row["split"] is None:
            used = coder_of(row, coder)
            sent = f", {row['bytes'][used]['mean']:.1f} B ({used})" if used else ""
            notes.append(f"{row['method']}: {metric} {percent(score(row))} %{sent}")
    return notes


def _bytes(row: Row, coder: str) -> str:
    """Mean coded bytes; with the coder's name where it is another than was asked for."""
    used = coder_of(row, coder)
    if used is None:
        return _MISSING
    text = f"{row['bytes'][used]['mean']:.1f}"
    return text if used == coder else f"{text} {used}"


def _seeds_text(rows: Iterable[Row]) -> str:
    return " / ".join(dict.fromkeys(",".join(map(str, seeds(row))) for row in rows))


def _width(row: Row) -> str:
    return _MISSING if row["bits"] is None else str(row["bits"])


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
