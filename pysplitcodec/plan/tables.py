"""Profiles as TOML: one table for each, by name, with the source of every figure in it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pysplitcodec.errors import ArgumentError
from pysplitcodec.toml_file import parse

_Profile = TypeVar("_Profile")

# Not figures, and so without a source.
_TEXTS = ("description", "sources")


def read_tables(path: str | os.PathLike[str] | None, shipped: str) -> dict[str, dict[str, Any]]:
    """Return the tables of a TOML file by name; of `shipped`, in this package, if path is None.

    Raises ArgumentError if it is no TOML of such tables, OSError if it cannot be read,
    MissingDependencyError without a TOML reader.
    """
    if path is None:
        data = (resources.files(__package__) / shipped).read_bytes()
    else:
        data = Path(path).read_bytes()
    tables = parse(data, path)
    wrong = [name for name, table in tables.items() if not isinstance(table, dict)]
    if wrong or not tables:
        raise ArgumentError(
            f"{path} has {', '.join(wrong) or 'nothing'} at its top: expected one table for each "
            "profile"
        )
    return tables


def check_keys(
    where: str, table: Mapping[str, Any], *, needed: Iterable[str], known: Collection[str]
) -> None:
    """Raise ArgumentError if keys are unknown or missing; `where` names the table."""
    unknown = [key for key in table if key not in known]
    if unknown:
        raise ArgumentError(
            f"{where} has {', '.join(unknown)}: expected keys of {', '.join(known)}"
        )
    missing = [key for key in needed if key not in table]
    if missing:
        raise ArgumentError(f"{where} lacks {', '.join(missing)}")


def check_sources(where: str, table: Mapping[str, Any]) -> None:
    """Raise ArgumentError unless `sources` has a text for every figure of a table, and no other."""
    sources = table["sources"]
    if not isinstance(sources, dict) or not all(isinstance(s, str) for s in sources.values()):
        raise ArgumentError(f"{where} has sources {sources!r}: expected a text for each figure")
    figures = {key for key in table if key not in (*_TEXTS, "model_times")}
    if figures != set(sources):
        wrong = ", ".join(sorted(figures ^ set(sources)))
        raise ArgumentError(f"{where} has a figure without a source, or the reverse: {wrong}")


def check_positive(where: str, **values: object) -> None:
    """Raise ArgumentError unless all are finite numbers above 0."""
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < math.inf:  # type: ignore[operator]
            raise ArgumentError(f"{where}: {name} is {value!r}: expected a number above 0")


def check_count(where: str, **values: object) -> None:
    """Raise ArgumentError unless all are finite numbers of at least 0, whole or means."""
    for name, value in values.items():
        if not _is_number(value) or not 0 <= value < math.inf:  # type: ignore[operator]
            raise ArgumentError(f"{where}: {name} is {value!r}: expected a number of at least 0")


def named(profiles: Mapping[str, _Profile], kind: str, name: str) -> _Profile:
    """Return one of the profiles; ArgumentError lists those there are."""
    if name not in profiles:
        raise ArgumentError(f"{kind} is {name!r}: expected one of {', '.join(profiles)}")
    return profiles[name]


def write_table(name: str, table: Mapping[str, Any]) -> str:
    """Return the TOML of one table of texts, numbers, and tables or lists of tables of those."""
    deeper = {key: value for key, value in table.items() if isinstance(value, (dict, list))}
    lines = [f"[{_text(name)}]"]
    lines += [f"{key} = {_scalar(v)}" for key, v in table.items() if key not in deeper]
    for key, value in deeper.items():
        header = f"{_text(name)}.{key}"
        for inner in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{header}]]" if isinstance(value, list) else f"[{header}]"]
            lines += [f"{_text(inner_key)} = {_scalar(v)}" for inner_key, v in inner.items()]
    return "\n".join(lines) + "\n"


def _scalar(value: str | float) -> str:
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    # a JSON string is a TOML one, but for DEL
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
