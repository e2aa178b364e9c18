"""The answer to where a model is split: the candidates, what was asked of them, and the best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import pysplitcodec
from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan import (
    Candidate,
    Choice,
    DeviceProfile,
    Limits,
    Link,
    Span,
    Weights,
    break_even,
    choices,
)

_Key = TypeVar("_Key")


@dataclass(frozen=True)
class Question:
    """What candidates are judged by; see `plan.choices`."""

    device: DeviceProfile
    link: Link
    server: DeviceProfile | None = None
    inferences: float | None = None
    weights: Weights = field(default_factory=Weights)
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Raise ArgumentError if a speed that times need is not known, or `inferences` is wrong."""
        for one in (self.device, self.server):
            if one is not None:
                one.compute_s(0)
        self.choices([Candidate("nothing", 0, 0)])

    def choices(self, given: Iterable[Candidate]) -> list[Choice]:
        """As `plan.choices`."""
        return choices(given, self.device, self.link, **self._asked())

    def spans(self, given: Sequence[Candidate]) -> list[Span]:
        """As `plan.break_even`; nothing if no candidate will do."""
        try:
            return break_even(given, self.device, self.link, **self._asked())
        except ArgumentError:
            if any(one.feasible for one in self.choices(given)):
                raise
            return []

    def _asked(self) -> dict[str, Any]:
        names = ("server", "inferences", "weights", "limits")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Plan:
    """What `splitcodec plan MODEL --json` prints; docs/planning.md explains it.

    found: as of `plan.choices`; spans: as of `plan.break_even`.  samples: inputs that bytes were
    measured with.  notes: what a reader has to know of the figures.
    """

    model: str
    question: Question
    found: Sequence[Choice]
    spans: Sequence[Span]
    samples: int
    notes: Sequence[str] = ()

    @property
    def best(self) -> Choice | None:
        """The first that will do, if any does."""
        return self.found[0] if self.found[0].feasible else None

    @property
    def runner_up(self) -> Choice | None:
        """The next that will do and is no other width or coder at the same split point."""
        return runner_up(self.found)

    def best_of_each(self) -> list[Choice]:
        """Of each split point, and of each way not to split, the first; in their order."""
        found: dict[str, Choice] = {}
        for one in self.found:
            found.setdefault(one.candidate.name, one)
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        from pysplitcodec.report.plan_words import explain

        question = self.question
        return {
            "model": self.model,
            "samples": self.samples,
            "device": question.device.name,
            "link": question.link.name,
            "bits_per_s": question.link.bits_per_s,
            "server": question.server and question.server.name,
            "inferences": question.inferences,
            "weights": asdict(question.weights),
            "limits": asdict(question.limits),
            "best": self.best and row(self.best),
            "runner_up": self.runner_up and row(self.runner_up),
            "why": explain(self),
            "notes": list(self.notes),
            "candidates": [row(one) for one in self.found],
            "by_bits_per_s": [
                {"from": span.low, "to": _finite(span.high), "best": row(span.choice)}
                for span in self.spans
            ],
            "version": pysplitcodec.__version__,
        }


def row(one: Choice) -> dict[str, Any]:
    """A candidate with its costs, as JSON."""
    candidate, cost = one.candidate, one.cost
    return {
        **asdict(candidate),
        "split_point": candidate.name if candidate.coder else None,
        **asdict(cost),
        "latency_s": cost.latency_s,
        "energy_j": cost.energy_j,
        "frames_per_s": _finite(cost.frames_per_s),
        "objective": one.objective,
        "feasible": one.feasible,
        "why_not": list(one.why_not),
    }


def runner_up(found: Sequence[Choice]) -> Choice | None:
    """The first that will do, of another name than the first of all."""
    others = (one for one in found[1:] if one.candidate.name != found[0].candidate.name)
    return next((one for one in others if one.feasible), None)


def could_win(
    question: Question, given: Sequence[Candidate], hopes: Mapping[_Key, Candidate]
) -> list[_Key]:
    """Which hopes would be the best, or the runner-up, or the best at another rate of the link.

    The most promising first.  given: what is known.  hopes: candidates with the least that they
    could cost.  Each is judged by itself: what another hope really costs is not known.
    """
    second = runner_up(question.choices(given))
    known = [span.choice.candidate for span in question.spans(given)]

    found: list[tuple[float, int, _Key]] = []
    for key, hope in hopes.items():
        (here,) = question.choices([hope])
        next_best = here.feasible and (second is None or here.objective < second.objective)
        if next_best or any(
            span.choice.candidate is hope for span in question.spans([*known, hope])
        ):
            found.append((here.objective, len(found), key))
    return [key for _, _, key in sorted(found, key=lambda one: one[:2])]


def _finite(value: float) -> float | None:
    """As JSON, which has no infinity."""
    return value if math.isfinite(value) else None
