"""The self-test's host side: sends golden vectors, counts what came of them, measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pysplitcodec.codebook import Codebook
from pysplitcodec.codec import Codec, Dtype
from pysplitcodec.errors import FirmwareError
from pysplitcodec.firmware.link import TOO_LONG, Link
from pysplitcodec.firmware.vectors import Case, description_of

__all__ = ["Report", "measure", "quit_self_test", "run_cases"]

_ENCODE, _DECODE, _MEASURE, _QUIT = "e", "d", "m", "q"
_PASSED, _FAILED = "+", "-"  # else there was no room


@dataclass
class Report:
    """What became of the vectors: names of those that failed, and how many were too large.

    stack_bytes: the most that a call of spc_encode took.
    """

    passed: int = 0
    left_out: int = 0
    failed: list[str] = field(default_factory=list)
    stack_bytes: int = 0


def run_cases(link: Link, cases: Iterable[Case]) -> Report:
    """Have the self-test run them all.  Raises FirmwareError if it does not answer."""
    report = Report()
    for case in cases:
        body = _body(
            (case.description, case.given, case.wanted),
            (case.coder, case.kind, case.status),
            case.max_elements,
        )
        try:
            verdict, numbers = link.request(_ENCODE if case.encode else _DECODE, body)
        except FirmwareError as error:
            if error.code != TOO_LONG:
                raise
            report.left_out += 1
            continue
        if verdict == _PASSED:
            report.passed += 1
        elif verdict == _FAILED:
            report.failed.append(case.name)
        else:
            report.left_out += 1
        report.stack_bytes = max(report.stack_bytes, int.from_bytes(numbers[:4], "little"))
    return report


def measure(link: Link, dtype: Dtype, bits: int) -> float:
    """Return the ticks per element of quantising and packing features of this dtype.

    Tables made for them are included: those of up to 4,096 elements, as many as there is room for.
    """
    spread = np.linspace(-1.5, 1.5, 1 << bits) * (1 if dtype == "float32" else 64)
    codec = Codec(Codebook(spread.astype(np.float32)), "pack", shape=(1,), dtype=dtype)
    _, numbers = link.request(_MEASURE, _body((description_of(codec), b"", b"")))
    ticks, elements = (int.from_bytes(numbers[at : at + 4], "little") for at in (0, 4))
    return ticks / elements


def quit_self_test(link: Link) -> None:
    """End it: the program then exits with 0 if vectors passed and none failed, else with 1."""
    link.request(_QUIT)


def _body(
    pieces: Sequence[bytes], numbers: Sequence[int] = (0, 0, 0), max_elements: int = 1
) -> bytes:
    """As firmware/app/self_test.c reads it."""
    lengths = b"".join(len(piece).to_bytes(4, "little") for piece in pieces)
    padded = b"".join(piece + bytes(-len(piece) % 4) for piece in pieces)
    return bytes((*numbers, 0)) + max_elements.to_bytes(4, "little") + lengths + padded
