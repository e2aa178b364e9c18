"""A plan as one HTML file that works offline."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Callable, Optional

from pysplitcodec.plan import Candidate, Choice, DeviceProfile, Link, evaluate, pareto
from pysplitcodec.report.page import compose
from pysplitcodec.report.plan_report import Plan, Question, row
from pysplitcodec.report.plan_words import PARTS, way

_SCRIPTS = (
    "plan_words.js",
    "plan_bars.js",
    "plan_rates.js",
    "plan_front.js",
    "plan_tables.js",
    "plan.js",
)
_Figure = Callable[[Choice], Optional[float]]
_FIGURES: dict[str, _Figure] = {
    "payload_bytes": lambda one: one.candidate.payload_bytes,
    "accuracy_drop": lambda one: one.candidate.accuracy_drop,
    "energy_j": lambda one: one.cost.energy_j,
    "price": lambda one: one.cost.price,
}


def page(plan: Plan, command: str = "") -> str:
    """The HTML page of a plan, complete in itself.  command: that made it."""
    places = {id(one.candidate): index for index, one in enumerate(plan.found)}

    def place(one: Choice | None) -> int | None:
        return None if one is None else places[id(one.candidate)]

    told = plan.to_dict()
    profiles = (
        ("Device", plan.question.device),
        ("Link", plan.question.link),
        ("Server", plan.question.server),
    )
    rows = [
        {"index": index, "way": way(one.candidate), **row(one)}
        for index, one in enumerate(plan.found)
    ]
    report = {
        **{key: told[key] for key in ("model", "samples", "inferences", "limits", "weights")},
        **{key: told[key] for key in ("why", "notes", "bits_per_s", "version")},
        "rows": rows,
        "best": place(plan.best),
        "runner_up": place(plan.runner_up),
        "each": [place(one) for one in sorted(plan.best_of_each(), key=_along)],
        "parts": list(PARTS),
        "spans": [
            {"low": span.low, "high": span.high, "row": place(span.choice)} for span in plan.spans
        ],
        "lines": [
            {"row": place(one), **_line(one.candidate, plan.question)} for one in _compared(plan)
        ],
        "fronts": {
            name: [place(one) for one in front] for name, front in _fronts(plan.found).items()
        },
        "profiles": [_profile(role, one) for role, one in profiles if one is not None],
        "command": command,
    }
    return compose("Where to split", "plan", _SCRIPTS, report)


def write_page(plan: Plan, path: str | os.PathLike[str], command: str = "") -> None:
    """Write `page(plan, command)` to the file `path`.  Raises OSError if that cannot be done."""
    Path(path).write_text(page(plan, command), encoding="utf-8")


def _along(one: Choice) -> tuple[float, float]:
    """From what is all on the server to what is all on the device."""
    return one.candidate.head_macs, -one.candidate.payload_bytes


def _compared(plan: Plan) -> Iterable[Choice]:
    """What is drawn over the rates: the best at any, those now, and all that are no split."""
    whole = [one for one in plan.found if one.candidate.coder is None and one.feasible]
    ones = (*(span.choice for span in plan.spans), plan.best, plan.runner_up, *whole)
    return {id(one.candidate): one for one in ones if one is not None}.values()


def _line(one: Candidate, question: Question) -> dict[str, float]:
    """Latency over the rate of the link: fixed_s + sent_bits / rate."""
    rate = question.link.bits_per_s
    now_s, twice_s = (
        evaluate(
            one,
            question.device,
            replace(question.link, bits_per_s=at),
            server=question.server,
            inferences=question.inferences,
        ).latency_s
        for at in (rate, 2 * rate)
    )
    return {"fixed_s": 2 * twice_s - now_s, "sent_bits": 2 * rate * (now_s - twice_s)}


def _fronts(found: Sequence[Choice]) -> dict[str, list[Choice]]:
    """Of latency and each figure that is known of several, those that no other beats."""
    fronts = {}
    for name, figure in _FIGURES.items():
        known = [one for one in found if one.feasible and figure(one) is not None]
        if len({figure(one) for one in known}) > 1:
            fronts[name] = pareto(known, [_latency_s, partial(_known, figure)])
    return fronts


def _latency_s(one: Choice) -> float:
    return one.cost.latency_s


def _known(figure: _Figure, one: Choice) -> float:
    return figure(one) or 0.0


def _profile(role: str, one: DeviceProfile | Link) -> dict[str, Any]:
    """Each figure that is known, with its source."""
    figures = [
        {"name": key, "value": _value(value), "source": one.sources.get(key, "not given")}
        for key, value in ((f.name, getattr(one, f.name)) for f in fields(one))
        if value and key not in ("name", "description", "sources", "model_times")
    ]
    if isinstance(one, DeviceProfile):
        if one.macs_per_s is None:
            used = {"name": "MAC/s used", "value": _value(one.effective_macs_per_s)}
            figures.insert(0, {**used, "source": "MACs / seconds of these models together"})
        figures += [
            {
                "name": f"time of {time.model}",
                "value": f"{_value(time.macs)} MACs in {time.seconds:g} s",
                "source": time.source,
            }
            for time in one.model_times
        ]
    return {"role": role, "name": one.name, "description": one.description, "figures": figures}


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item:g}" for key, item in value.items())
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"
