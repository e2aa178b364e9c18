"""Medians of repeated calls, and what the memory allows."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["MemorySpeed", "median_ns", "memory_speed", "once_s"]

_ROUNDS = 9
_LEAST_ROUNDS = 3
# Bytes that one call reads, if need be several times, so that numpy's own microsecond is little.
_READ = 1 << 22


def once_s(call: Callable[[], Any]) -> float:
    """Return the seconds that the second of two calls takes."""
    call()
    return timeit.Timer(call).timeit(1)


def median_ns(calls: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """Return the median nanoseconds of one call, for each of `calls`.

    The calls take turns, so that a machine that drifts favours none.  Each is given `seconds` in
    all, in nine rounds, or as many rounds as fit into them, but at least three.
    """
    timers = [timeit.Timer(call) for call in calls]
    counts = [max(1, int(seconds / _ROUNDS / max(once_s(call), 1e-9))) for call in calls]
    taken: list[list[float]] = [[] for _ in calls]
    for number in range(_ROUNDS):
        for timer, count, times in zip(timers, counts, taken):
            if number < _LEAST_ROUNDS or sum(times) < seconds:
                times.append(timer.timeit(count))
    return [statistics.median(times) / count * 1e9 for times, count in zip(taken, counts)]


class MemorySpeed(NamedTuple):
    """GB/s (1e9 bytes of the buffer a second) of one pass over a buffer.

    read: the fastest of numpy's reductions over its bytes taken as integers, named by `read_by`,
    without numpy's call; memcpy: np.copyto into another buffer; memset: ndarray.fill.
    """

    read: float
    read_by: str
    memcpy: float
    memset: float


def memory_speed(buffer: npt.NDArray[Any], seconds: float) -> MemorySpeed:
    """Measure one contiguous buffer, which stays as it is; `seconds` for each of eleven ways."""
    raw = buffer.reshape(-1).view(np.uint8)
    whole = raw[: raw.size // 8 * 8]  # what int64 does not cover is less than 8 bytes
    passes = max(1, _READ // raw.size)
    reads: dict[str, Callable[[], Any]] = {}
    for reduction in (np.maximum, np.bitwise_or, np.add):
        for dtype in (np.uint8, np.int32, np.int64):
            name = f"np.{reduction.__name__}.reduce of {np.dtype(dtype).name}"
            once: npt.NDArray[Any] = whole.view(dtype)
            again = np.broadcast_to(once, (passes, once.size))
            reads[name] = partial(reduction.reduce, again, axis=1, dtype=dtype)
    copy = np.empty_like(raw)
    writes: list[Callable[[], Any]] = [partial(np.copyto, copy, raw), lambda: copy.fill(0)]
    calls = [*reads.values(), *writes]
    *read, memcpy, memset = (raw.size / ns for ns in median_ns(calls, seconds))
    read = [passes * speed for speed in read]
    fastest = max(range(len(read)), key=read.__getitem__)
    return MemorySpeed(read[fastest], list(reads)[fastest], memcpy, memset)
