"""Reports as single HTML files that work offline; first of all the layer report.

The parts of pages lie beside this module: page.html has places for the body, the styles and the
scripts.  Names in a report come from files and may be hostile: here they are JSON in which no
markup can begin, the scripts make nothing but text of them, and the page's content security policy
lets no other script, style or address in.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from pysplitcodec.page_policy import source_hash

# What the scripts of every page build on.
_SHARED = ("page_format.js", "page_select.js", "page_scatter.js", "page_sorting.js")
# One script, in this order: page.js starts what the others define.
_SCRIPTS = (
    "page_layout.js",
    "page_graph.js",
    "page_chart.js",
    "page_table.js",
    "page_plots.js",
    "page_detail.js",
    "page.js",
)


def page(report: Mapping[str, Any]) -> str:
    """The HTML page of a layer report, complete in itself.

    report: what `splitcodec inspect MODEL --json` prints.  Numbers that are not finite are shown
    like those that were not measured.
    """
    return compose("Split points", "layers", _SCRIPTS, report)


def compose(title: str, name: str, scripts: Sequence[str], report: Mapping[str, Any]) -> str:
    """A page of the body NAME.html and the style NAME.css, with `report` for its scripts.

    Of `scripts` the last starts what the others, and those that all pages share, define.
    """
    style = _part("page.css") + _part(f"{name}.css")
    script = "".join(map(_part, (*_SHARED, *scripts)))
    return Template(_part("page.html")).substitute(
        title=title,
        body=_part(f"{name}.html"),
        style=style,
        style_hash=source_hash(style),
        script=script,
        script_hash=source_hash(script),
        report=_json(report),
    )


def write_page(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write `page(report)` to the file `path`.  Raises OSError if that cannot be done."""
    Path(path).write_text(page(report), encoding="utf-8")


def _part(name: str) -> str:
    return (resources.files("pysplitcodec.report") / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON in ASCII that may stand inside <script>: neither a tag nor a comment can begin in it."""
    text = json.dumps(_finite(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _finite(value: Any) -> Any:
    """`value` with None for every number that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
