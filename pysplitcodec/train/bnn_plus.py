"""BNN+'s regulariser at the cut (Darabi et al.), as TCL compares with it: a fixed exponent."""

from __future__ import annotations

from pysplitcodec.errors import ArgumentError
from pysplitcodec.train.method import Method
from pysplitcodec.train.tcl import tcl


def bnn_plus(bits: int, *, task_weight: float = 0.9, exponent: float = 2) -> Method:
    """TCL whose exponent stays: 1, or 2.  task_weight: as for TCL."""
    if exponent not in (1, 2):
        raise ArgumentError(f"exponent is {exponent!r}: expected 1 or 2")
    return tcl(bits, task_weight=task_weight, tau=(exponent, exponent))
