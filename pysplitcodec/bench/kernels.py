"""`splitcodec bench kernels`: every step of the codec beside numpy, other peers and the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import pysplitcodec as sc
from pysplitcodec.bench.machine import describe
from pysplitcodec.bench.operations import OPERATIONS, Job, Operation, generate, ours
from pysplitcodec.bench.peers import PEERS, UnsuitableError, one_thread
from pysplitcodec.bench.timing import median_ns, memory_speed, once_s
from pysplitcodec.native import DTYPES, core

__all__ = ["Input", "KernelReport", "measure"]

# What a peer must do first, to be verified and to show that it is not absurdly slow.
_TRIAL = 1 << 16
_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Input:
    """Something to measure on, by a name that says its dtype; `job(bits)` has the same values
    for every width."""

    name: str
    job: Callable[[int], Job]


@dataclass
class KernelReport:
    """What has been measured so far; docs/cli.md says what each name means."""

    machine: dict[str, Any] = field(default_factory=describe)
    read_gb_s: dict[str, float] = field(default_factory=dict)
    read_by: dict[str, str] = field(default_factory=dict)
    memcpy_gb_s: dict[str, float] = field(default_factory=dict)
    memset_gb_s: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)


def measure(
    report: KernelReport,
    inputs: Iterable[Input],
    widths: Iterable[int],
    *,
    peers: bool,
    seconds: float,
    progress: Callable[[str], None],
) -> None:
    """Add to `report` what every operation takes on every input and index width, in one thread.

    peers: whether to time them; numpy verifies what the core does either way.  seconds: for each
    row, beside what verifying takes.  Raises RuntimeError if the core and numpy disagree, which is
    a bug.
    """
    widths = list(widths)
    with one_thread() if peers else nullcontext():
        for given in inputs:
            _measure_memory(report, given, widths[0], seconds)
            for bits in widths:
                job = given.job(bits)
                progress(f"{given.name}, {bits} bits: verifying")
                _verify(job)
                suitable = _suitable(report, given, job) if peers else {}
                for name, operation in ours(job).items():
                    progress(f"{given.name}, {bits} bits: {name}")
                    _measure_operation(report, given, job, name, operation, suitable, seconds)
        _measure_calls(report, widths[0], seconds)


def _measure_memory(report: KernelReport, given: Input, bits: int, seconds: float) -> None:
    job = given.job(bits)
    for kind, buffer in (("values", job.values), ("indices", job.indices())):
        name = _buffer(given, kind)
        speed = memory_speed(buffer, seconds)
        report.read_gb_s[name] = _rounded(speed.read)
        report.read_by[name] = speed.read_by
        report.memcpy_gb_s[name] = _rounded(speed.memcpy)
        report.memset_gb_s[name] = _rounded(speed.memset)


def _buffer(given: Input, kind: str) -> str:
    return given.name if kind == "values" else f"{given.name} {kind}"


def _verify(job: Job) -> None:
    """Hold every operation of the core against numpy's."""
    trial = job.first(_TRIAL)
    numpy = PEERS["numpy"](trial)
    for name, operation in ours(trial).items():
        if wrong := _differing(operation, numpy[name]):
            raise _bug(trial, name, wrong)


def _bug(job: Job, name: str, wrong: int) -> RuntimeError:
    return RuntimeError(
        f"{name} of {job.values.size} {job.dtype} at {job.codebook.bits} bits gives {wrong} "
        "elements other than numpy's"
    )


def _suitable(report: KernelReport, given: Input, job: Job) -> dict[str, dict[str, Operation]]:
    """The peers' operations on `job`; what cannot be timed goes to `report.skipped`."""
    found: dict[str, dict[str, Operation]] = {}
    trial = job.first(_TRIAL)
    for peer, make in PEERS.items():
        try:
            tried, found[peer] = make(trial), make(job)
        except UnsuitableError as reason:
            _skip(report, given, job, peer, None, str(reason))
            continue
        for name, operation in tried.items():
            about = once_s(operation.call) * job.values.size / trial.values.size
            if about > _PATIENCE_S:
                _skip(report, given, job, peer, name, f"takes about {about:.1f} s a call")
                del found[peer][name]
    return found


def _measure_operation(
    report: KernelReport,
    given: Input,
    job: Job,
    name: str,
    operation: Operation,
    peers: dict[str, dict[str, Operation]],
    seconds: float,
) -> None:
    running = {core.kernels_name(): operation}
    for peer, operations in peers.items():
        if name not in operations:
            continue
        if wrong := _differing(operation, operations[name]):
            if peer == "numpy":
                raise _bug(job, name, wrong)
            _skip(report, given, job, peer, name, f"gives {wrong} other elements")
        else:
            running[peer] = operations[name]
    taken = dict(zip(running, median_ns([one.call for one in running.values()], seconds)))
    kind = OPERATIONS[name]
    size = job.values.nbytes if kind == "values" else job.values.size
    read_ns = size / report.read_gb_s[_buffer(given, kind)]
    for kernel, ns in taken.items():
        report.rows.append(
            {
                "input": given.name,
                "op": name,
                "dtype": job.dtype,
                "bits": job.codebook.bits,
                "kernel": kernel,
                "elements": job.values.size,
                "ns_per_element": _rounded(ns / job.values.size),
                "of_read_speed": _rounded(read_ns / ns),
                "times_numpy": _rounded(taken["numpy"] / ns) if "numpy" in taken else None,
                "overhead_ns": None,
            }
        )


def _measure_calls(report: KernelReport, bits: int, seconds: float) -> None:
    """What a whole call from Python takes on 2 kB, and what of it any number of elements takes.

    The latter is what is left of a straight line through 2 and 16 kB at no elements.
    """
    sizes = (512, 4096)
    calls: dict[str, list[Callable[[], Any]]] = {"encode": [], "quantize_pack": []}
    for size in sizes:
        job = generate((size,), "float32", bits)
        codec = sc.Codec(job.codebook, "pack", shape=job.values.shape)
        pack = job.codebook._native.quantize_pack
        calls["encode"].append(partial(codec.encode, job.values))
        calls["quantize_pack"].append(partial(pack, DTYPES["float32"], job.values, job.packed()))
    for name, pair in calls.items():
        small, large = median_ns(pair, seconds)
        per_element = (large - small) / (sizes[1] - sizes[0])
        report.rows.append(
            {
                "input": "2 kB float32",
                "op": f"call_overhead {name}",
                "dtype": "float32",
                "bits": bits,
                "kernel": core.kernels_name(),
                "elements": sizes[0],
                "ns_per_element": _rounded(small / sizes[0]),
                "of_read_speed": None,
                "times_numpy": None,
                "overhead_ns": _rounded(small - per_element * sizes[0]),
            }
        )


def _differing(one: Operation, other: Operation) -> int:
    """How many elements of what they make are not the same."""
    return int(np.count_nonzero(one.run() != other.run()))


def _skip(
    report: KernelReport, given: Input, job: Job, peer: str, op: str | None, reason: str
) -> None:
    """Note why a peer is not timed: in one operation, or where `op` is None in all."""
    where = {"name": peer, "input": given.name, "bits": job.codebook.bits, "op": op}
    report.skipped.append({**where, "reason": reason})


def _rounded(figure: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{figure:.4g}")
