"""Patterns of bits, which `qpart` finds: looking them up, and as files.  Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pysplitcodec.errors import ArgumentError, ModelError
from pysplitcodec.plan.cost import Candidate
from pysplitcodec.plan.tables import check_count

__all__ = ["Pattern", "at_drop", "load_patterns", "save_patterns"]


@dataclass(frozen=True)
class Pattern:
    """A split point, and the bits of what is sent for it.

    drop: the accuracy that may be lost; measured_drop: that is, on calibration samples.
    weight_bits: of the head's layers by name.  feature_bits: of the feature's elements, of which
    there are so many.  head_bytes: of the weights as they are sent, measured.  head_macs,
    tail_macs: multiply-accumulates of one input.

    Raises ArgumentError for figures that no split has.
    """

    split: str
    drop: float
    measured_drop: float
    weight_bits: dict[str, int]
    feature_bits: int
    feature_elements: int
    head_bytes: int
    head_macs: int
    tail_macs: int

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no split has."""
        where = f"pattern of {self.split!r}"
        counts = ("drop", "feature_bits", "feature_elements", "head_bytes", "head_macs")
        given = {name: getattr(self, name) for name in (*counts, "tail_macs")}
        loss = self.measured_drop
        given["size of measured_drop"] = abs(loss) if isinstance(loss, (int, float)) else loss
        check_count(where, **given)
        if not isinstance(self.split, str) or not isinstance(self.weight_bits, dict):
            raise ArgumentError(f"{where}: expected a name, and weight_bits by name")

    @property
    def candidate(self) -> Candidate:
        """What `evaluate` and `choices` take; the feature is packed and not coded."""
        return Candidate(
            self.split,
            self.head_macs,
            self.tail_macs,
            elements=self.feature_elements,
            payload_bytes=float(np.ceil(self.feature_elements * self.feature_bits / 8)),
            bits=self.feature_bits,
            head_bytes=self.head_bytes,
            accuracy_drop=self.measured_drop,
        )


def at_drop(patterns: Sequence[Pattern], drop: float) -> list[Pattern]:
    """Those of the largest of the accuracy drops that is not above `drop` (Algorithm 2, line 1).

    Raises ArgumentError if there is none, and names the least.
    """
    known = sorted({one.drop for one in patterns})
    fitting = [one for one in known if one <= drop]
    if not fitting:
        least = f"{known[0]:g}" if known else "none"
        raise ArgumentError(f"drop is {drop:g}: expected at least {least}, the least with patterns")
    return [one for one in patterns if one.drop == fitting[-1]]


def save_patterns(patterns: Sequence[Pattern], path: str | Path) -> None:
    """Write patterns as JSON, for `load_patterns`."""
    rows = [asdict(one) for one in patterns]
    Path(path).write_text(json.dumps({"format": 1, "patterns": rows}, indent=1) + "\n", "utf-8")


def load_patterns(path: str | Path) -> list[Pattern]:
    """Read what `save_patterns` wrote.  Raises ModelError for anything else."""
    try:
        found = json.loads(Path(path).read_text("utf-8"))
        if found["format"] != 1:
            raise ModelError(f"{path} has format {found['format']!r}: this version reads 1")
        return [Pattern(**row) for row in found["patterns"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path} holds no patterns: {error}") from None
