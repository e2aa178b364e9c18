"""A plan in words: what is best, why, and at which rates of the link something else would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysplitcodec.plan import Candidate, Choice, Cost
from pysplitcodec.report.answers import SEND_JPEG
from pysplitcodec.report.candidates import ON_DEVICE, ON_SERVER

if TYPE_CHECKING:
    from pysplitcodec.report.plan_report import Plan

_NAME_LENGTH = 40
PARTS = {
    "compute_s": "computing on the device",
    "codec_s": "coding",
    "link_s": "the link",
    "server_s": "the server",
    "ship_s": "sending the head's weights",
}


def explain(plan: Plan) -> list[str]:
    """Sentences: the best and what dominates it, the runner-up, and where the answer changes."""
    best = plan.best
    if best is None:
        nearest = plan.best_of_each()[0]
        return [
            f"No candidate keeps the limits. Nearest is to {way(nearest.candidate)}: "
            f"{'; '.join(nearest.why_not)}."
        ]
    first = f"{_sentence(way(best.candidate))}: {seconds(best.cost.latency_s)}{_dominated(best)}"
    if best.candidate.name.startswith(SEND_JPEG):
        first += "; the time to make the JPEG is not known, and not counted"
    said = [f"{first}."]
    return [*said, *_runner_up(plan, best), *_alternatives(plan, best), *_rates(plan, best)]


def way(candidate: Candidate) -> str:
    """What a candidate asks for, as an order."""
    if candidate.name == ON_DEVICE:
        return "run it all on the device"
    if candidate.name == ON_SERVER or candidate.name.startswith(SEND_JPEG):
        return candidate.name
    bits = f"{candidate.bits} bit{'s' if candidate.bits != 1 else ''}"
    return f"split at {shortened(candidate.name)} ({bits}, {candidate.coder})"


def shortened(name: str) -> str:
    """The first of the names that a converter joined; of a long one the middle is left out."""
    if len(name) <= _NAME_LENGTH:
        return name
    first, joined, _ = name.partition(";")
    if joined:
        return shortened(first) + ";..."
    return f"{name[: _NAME_LENGTH // 3]}...{name[-(2 * _NAME_LENGTH // 3 - 3) :]}"


def seconds(value: float) -> str:
    """A time in three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def rate(bits_per_s: float) -> str:
    """A rate of a link in three digits."""
    if bits_per_s == float("inf"):
        return "any higher"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if bits_per_s >= size:
            return f"{bits_per_s / size:.3g} {unit}bit/s"
    return f"{bits_per_s:.3g} bit/s"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _dominated(best: Choice) -> str:
    whole = best.cost.latency_s
    if not whole:
        return ""
    part = max(PARTS, key=lambda name: float(getattr(best.cost, name)))
    return f", {100 * getattr(best.cost, part) / whole:.0f} % of it {PARTS[part]}"


def _runner_up(plan: Plan, best: Choice) -> list[str]:
    other = plan.runner_up
    if other is None:
        return ["Nothing else keeps the limits."]
    text = f"Next best is to {way(other.candidate)}: {seconds(other.cost.latency_s)}"
    weights = plan.question.weights
    what = "" if not (weights.per_j or weights.per_price) else " of the weighted sum"
    if best.objective:
        more = 100 * (other.objective / best.objective - 1)
        text += f", {more:.3g} % more{what}"
    part, seconds_more = _grown(best.cost, other.cost)
    if seconds_more > 0:
        text += f", as {PARTS[part]} takes {seconds(seconds_more)} longer"
    return [f"{text}."]


def _grown(one: Cost, other: Cost) -> tuple[str, float]:
    more = {name: getattr(other, name) - getattr(one, name) for name in PARTS}
    part = max(more, key=lambda name: float(more[name]))
    return part, more[part]


def _alternatives(plan: Plan, best: Choice) -> list[str]:
    """What splitting saves, or that it does not pay."""
    if best.candidate.coder is None:
        return ["Splitting does not pay here."]
    whole = [
        f"{one.candidate.name} {seconds(one.cost.latency_s)}"
        + ("" if one.feasible else " (beyond the limits)")
        for one in plan.found
        if one.candidate.coder is None
    ]
    return [f"Without a split: {'; '.join(whole)}."] if whole else []


def _rates(plan: Plan, best: Choice) -> list[str]:
    now = plan.question.link.bits_per_s
    at = next(i for i, span in enumerate(plan.spans) if span.low <= now < span.high)
    here, spans = plan.spans[at], plan.spans
    changes = []
    if at > 0:
        changes.append(f"below {rate(here.low)} to {way(spans[at - 1].choice.candidate)}")
    if at + 1 < len(spans):
        changes.append(f"above {rate(here.high)} to {way(spans[at + 1].choice.candidate)}")
    limits = plan.question.limits
    limited = limits.latency_s is not None or limits.energy_j is not None
    if limited and here.choice.candidate is not best.candidate:
        changes.insert(0, f"now to {way(here.choice.candidate)}")
        return [f"Without limits on time and energy it would be best {', '.join(changes)}."]
    if not changes:
        return ["That is the best at every rate of the link."]
    return [f"Over other links it is best, {', and '.join(changes)}."]
