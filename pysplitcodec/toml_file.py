"""TOML, which Python reads by itself from 3.11 on."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from pysplitcodec.errors import ArgumentError, MissingDependencyError


def parse(data: bytes, source: object) -> dict[str, Any]:
    """The tables of a TOML file; source: what messages call it.

    Raises ArgumentError if it is none, MissingDependencyError where a reader is missing.
    """
    try:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise MissingDependencyError(
            "reading TOML needs tomli before Python 3.11: pip install 'pysplitcodec[cli]'"
        ) from None
    try:
        tables: dict[str, Any] = toml.loads(data.decode("utf-8"))
    except ValueError as error:  # not UTF-8, or not TOML
        raise ArgumentError(f"{source} is no TOML: {error}") from None
    return tables
