"""Rates of a link that were measured over time, and the files that hold them."""

from __future__ import annotations

import json
import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.tables import check_count, check_keys, check_positive


class Piece(NamedTuple):
    """A stretch of time with one rate: from when it was asked for until `until_s`."""

    until_s: float
    bits_per_s: float
    latency_s: float


@dataclass(frozen=True)
class Trace:
    """A rate for each stretch of time, from the first again after the last.

    durations_s: of the stretches.  bits_per_s: in each; 0 where nothing passes.  latency_s: beside
    the link's own, in each; empty: none.  In order.

    Raises ArgumentError for durations that are not above 0, negative rates and latencies, lengths
    that differ, and a trace in which nothing ever passes.

    >>> trace = Trace((1.0, 2.0), bits_per_s=(1e6, 0.0))
    >>> trace.at(3.5)
    Piece(until_s=4.0, bits_per_s=1000000.0, latency_s=0.0)
    """

    durations_s: Sequence[float]
    bits_per_s: Sequence[float]
    latency_s: Sequence[float] = ()

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no trace has."""
        lengths = (len(self.durations_s), len(self.bits_per_s), len(self.latency_s))
        if lengths[0] != lengths[1] or lengths[2] not in (0, lengths[0]):
            raise ArgumentError(
                f"trace has {lengths[0]} durations, {lengths[1]} rates and {lengths[2]} "
                "latencies: expected as many of each, or no latencies"
            )
        for number, (duration_s, bits_per_s) in enumerate(zip(self.durations_s, self.bits_per_s)):
            check_positive(f"trace, stretch {number}", duration_s=duration_s)
            check_count(f"trace, stretch {number}", bits_per_s=bits_per_s)
        for number, latency_s in enumerate(self.latency_s):
            check_count(f"trace, stretch {number}", latency_s=latency_s)
        if not any(self.bits_per_s):
            raise ArgumentError("trace has no rate above 0: expected one at least")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read a trace in one of two formats, told apart by their first character.

        JSON: a list of objects with the keys duration_ms, bandwidth_kbps and latency_ms.  Text: a
        line for each measurement, its time in seconds and the Mbit/s since the line before, as
        Pensieve has them; the first line tells only when the trace begins.

        Raises ArgumentError that names the line or the object, OSError if it cannot be read.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ArgumentError(f"{path} is no text: {error}") from None
        try:
            if text.lstrip().startswith("["):
                return cls(*_read_json(text))
            return cls(*_read_lines(text))
        except ArgumentError as error:
            raise ArgumentError(f"{path}: {error}") from None

    @cached_property
    def _ends_s(self) -> list[float]:
        return [float(end) for end in np.cumsum(np.asarray(self.durations_s, np.float64))]

    @property
    def seconds(self) -> float:
        """Until it begins again."""
        return self._ends_s[-1]

    @property
    def mean_bits_per_s(self) -> float:
        """Over time."""
        return float(np.dot(self.durations_s, self.bits_per_s)) / self.seconds

    def at(self, time_s: float) -> Piece:
        """What holds at a time from 0 on; `until_s` is later than it."""
        begin_s = time_s // self.seconds * self.seconds
        number = bisect_right(self._ends_s, time_s - begin_s)
        # A difference that was rounded may fall before an end that has passed.
        while number < len(self._ends_s) and begin_s + self._ends_s[number] <= time_s:
            number += 1
        if number == len(self._ends_s):
            begin_s, number = begin_s + self.seconds, 0
        latency_s = self.latency_s[number] if len(self.latency_s) else 0.0
        return Piece(begin_s + self._ends_s[number], self.bits_per_s[number], latency_s)


_Columns = tuple[list[float], list[float], list[float]]


def _read_json(text: str) -> _Columns:
    try:
        # Whole numbers without end would not become floats later.
        rows = json.loads(text, parse_int=float)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"is no JSON: {error}") from None
    columns: _Columns = ([], [], [])
    keys = ("duration_ms", "bandwidth_kbps", "latency_ms")
    for number, row in enumerate(rows):
        where = f"object {number}"
        if not isinstance(row, dict):
            raise ArgumentError(f"{where} is {row!r}: expected {', '.join(keys)}")
        check_keys(where, row, needed=keys, known=keys)
        check_count(where, **row)
        for column, key, unit in zip(columns, keys, (1e-3, 1e3, 1e-3)):
            column.append(row[key] * unit)
    return columns


def _read_lines(text: str) -> _Columns:
    times: list[float] = []
    columns: _Columns = ([], [], [])
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"line {number}"
        time_s, mbit_per_s = _numbers(where, line.split())
        if times and time_s <= times[-1]:
            raise ArgumentError(f"{where}: {time_s} s is not after {times[-1]} s, the line before")
        if times:
            columns[0].append(time_s - times[-1])
            columns[1].append(mbit_per_s * 1e6)
        times.append(time_s)
    if len(times) < 2:
        raise ArgumentError(f"has {len(times)} lines of figures: expected two at least")
    return columns


def _numbers(where: str, fields: Iterable[Any]) -> tuple[float, float]:
    try:
        time_s, mbit_per_s = map(float, fields)
    except ValueError:
        raise ArgumentError(f"{where}: expected two numbers, seconds and Mbit/s") from None
    if not math.isfinite(time_s):
        raise ArgumentError(f"{where}: {time_s} s: expected a finite time")
    check_count(where, mbit_per_s=mbit_per_s)
    return time_s, mbit_per_s
