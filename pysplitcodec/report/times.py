"""How long the halves of a model take on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from pysplitcodec.bench.timing import median_ns
from pysplitcodec.splitting import Cut, ModelGraph
from pysplitcodec.splitting.verify import open_head, open_part, random_inputs

# For each half; three runs at least, and nine rounds of as many as fit at most.
_SECONDS = 0.1


class Times(NamedTuple):
    """Milliseconds of one run: medians."""

    head_ms: float | None
    tail_ms: float | None


def measure_halves(
    graph: ModelGraph[Any],
    cuts: Sequence[Cut],
    example: Any,
    inputs: Sequence[Any] | None,
    tell: Callable[[str, int, int], None],
) -> list[Times]:
    """Time head and tail of every cut, in one thread, taking turns.

    example: of a PyTorch model.  inputs: one for each of the model's; drawn at random if there are
    none.
    """
    found = []
    for number, cut in enumerate(cuts):
        tell("timing the halves", number, len(cuts))
        halves = graph.split(cut)
        head = open_head(halves.head, example, optimise=True)
        tail = open_part(halves.tail, optimise=True)
        given = random_inputs(head)[0] if inputs is None else inputs
        feature = head(*given)
        calls = [partial(head, *given), partial(tail, *feature)]
        found.append(Times(*(ns / 1e6 for ns in median_ns(calls, _SECONDS))))
    tell("timing the halves", len(cuts), len(cuts))
    return found
