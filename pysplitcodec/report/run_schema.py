"""What run.json and rows.json hold, and whether a file does.

A run is one training: one method, split point, width and seed.  A row is what the runs have in
common that differ by their seeds alone, with means and spreads of what they measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from pysplitcodec.errors import ArgumentError

FORMAT = 1
_MOST = 2**63  # no number here is that large

Run = dict[str, Any]
Row = dict[str, Any]


# What is wrong with a value found at a place, or None.
_Check = Callable[[Any, str], Optional[str]]


def _leaf(expected: str, holds: Callable[[Any], bool]) -> _Check:
    return lambda value, place: None if holds(value) else _fault(value, place, expected)


def _fault(value: Any, place: str, expected: str) -> str:
    return f"{place} is {_short(value)}: expected {expected}"


def _or_null(check: _Check) -> _Check:
    return lambda value, place: None if value is None else check(value, place)


def _each(check: _Check) -> _Check:
    def checked(value: Any, place: str) -> str | None:
        if not isinstance(value, dict):
            return _fault(value, place, "an object")
        return _first(check(item, f"{place}.{key}") for key, item in value.items())

    return checked


def _list(check: _Check) -> _Check:
    def checked(value: Any, place: str) -> str | None:
        if not isinstance(value, list) or not value:
            return _fault(value, place, "a list that is not empty")
        return _first(check(item, f"{place}[{number}]") for number, item in enumerate(value))

    return checked


def _object(**checks: _Check) -> _Check:
    def checked(value: Any, place: str) -> str | None:
        if not isinstance(value, dict):
            return _fault(value, place, "an object")
        return _first(
            check(value[key], f"{place}.{key}") if key in value else f"{place}.{key} is missing"
            for key, check in checks.items()
        )

    return checked


def _first(faults: Iterable[str | None]) -> str | None:
    return next(filter(None, faults), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _spread(check: _Check) -> _Check:
    """What `runs.spread` makes of numbers."""
    return _object(mean=check, deviation=_or_null(_AMOUNT), low=check, high=check)


_TEXT = _leaf("text", lambda value: isinstance(value, str) and bool(value))
_COUNT = _leaf("a whole number from 0", _is_count)
_LENGTH = _leaf("a whole number from 1", lambda value: _is_count(value) and value > 0)
_BITS = _leaf("a whole number from 1 to 8", lambda value: _is_count(value) and 1 <= value <= 8)
_AMOUNT = _leaf("a finite number from 0", lambda value: _is_number(value) and value >= 0)
_SHARE = _leaf("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)

# What the runs of a row have in common.
SHARED = {
    "data": _object(name=_TEXT, train=_LENGTH, test=_LENGTH),
    "model": _TEXT,
    "split": _or_null(_TEXT),
    "bits": _or_null(_BITS),
    "method": _TEXT,
    "settings": _leaf("an object", lambda value: isinstance(value, dict)),
    "bottleneck": _or_null(_TEXT),
    "cut_shape": _or_null(_list(_LENGTH)),
    "feature_shape": _or_null(_list(_LENGTH)),
    "epochs": _each(_AMOUNT),
    "learning_rate": _or_null(_each(_AMOUNT)),
    "batch": _or_null(_LENGTH),
    "bfloat16": _or_null(_leaf("true or false", lambda value: isinstance(value, bool))),
    "metrics": _list(_TEXT),
    "head": _object(macs=_COUNT, parameters=_COUNT),
}


def _measured(share: _Check, amount: _Check) -> dict[str, _Check]:
    return {
        "whole": _each(share),
        "float": _or_null(_each(share)),
        "quantized": _or_null(_each(share)),
        "retrained": _or_null(_each(share)),
        "bytes": _each(amount),
        "input_bytes": _or_null(amount),
        "quality": _or_null(amount),
        "step_s": _each(_or_null(amount)),
    }


# What is measured anew with each seed; of a row, as spreads.
MEASURED = _measured(_SHARE, _AMOUNT)
SCORES = ("retrained", "quantized", "float", "whole")

# What says where a run comes from; of a row, a list of these.
ORIGIN = {
    "seed": _COUNT,
    "command": _TEXT,
    "commit": _or_null(_TEXT),
    "version": _TEXT,
    "torch": _or_null(_TEXT),
    "device": _TEXT,
    "threads": _or_null(_LENGTH),
    "date": _TEXT,
    "hours": _AMOUNT,
}

_RUN = {**SHARED, **MEASURED, **ORIGIN}
_ROW = {
    **SHARED,
    **_measured(_spread(_SHARE), _spread(_AMOUNT)),
    "runs": _list(_object(**ORIGIN)),
}
_MAY_BE_ABSENT = ("quality", "input_bytes", "learning_rate", "bfloat16")


def load(path: Path) -> Any:
    """What the JSON file holds: an object of this format.

    Raises ArgumentError if it is none, OSError if it cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(found, ensure_ascii=False).encode()  # fails on half a surrogate pair
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path} is no JSON text: {error}") from None
    if not isinstance(found, dict):
        raise ArgumentError(_fault(found, str(path), "an object"))
    if found.get("format") != FORMAT:
        raise ArgumentError(
            f"{path}: format is {_short(found.get('format'))}: expected {FORMAT}; "
            "another version of pysplitcodec wrote it"
        )
    return found


def checked_run(found: Any, where: str) -> Run:
    """The known keys of a run.  where: names it in errors."""
    return _checked(found, _RUN, where)


def checked_row(found: Any, where: str) -> Row:
    """The known keys of a row.  where: names it in errors."""
    return _checked(found, _ROW, where)


def _checked(found: Any, checks: Mapping[str, _Check], where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ArgumentError(_fault(found, where, "an object"))
    checked = {**dict.fromkeys(_MAY_BE_ABSENT), **found}
    for key, check in checks.items():
        fault = check(checked[key], key) if key in checked else f"{key} is missing"
        if fault:
            raise ArgumentError(f"{where}: {fault}")
    for key in SCORES:
        for metric in checked["metrics"]:
            if checked[key] is not None and metric not in checked[key]:
                raise ArgumentError(f"{where}: {key} lacks {metric!r}, which is one of the metrics")
    return {key: checked[key] for key in checks}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
