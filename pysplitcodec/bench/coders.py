"""`splitcodec bench coders`: payload sizes and speed of every coder beside general compressors."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import pysplitcodec as sc
from pysplitcodec.bench.compressors import Coder, Skip, peers, unit
from pysplitcodec.bench.machine import describe
from pysplitcodec.bench.operations import Array
from pysplitcodec.bench.samples import Samples
from pysplitcodec.bench.timing import median_ns
from pysplitcodec.model import NEED_MODEL, CoderModel
from pysplitcodec.native import CODERS, core

__all__ = ["CoderReport", "measure"]


@dataclass
class CoderReport:
    """What has been measured so far; docs/cli.md says what each name means."""

    files: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=describe)
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)

    def skip(self, name: str, reason: str) -> None:
        """Note, once, what is left out."""
        one = {"name": name, "reason": reason}
        if one not in self.skipped:
            self.skipped.append(one)

    def summary(self) -> list[dict[str, Any]]:
        """Return each coder's means over several files; nothing of one file."""
        if len(self.files) < 2:
            return []
        found = []
        for coder in dict.fromkeys(row["coder"] for row in self.rows):
            rows = [row for row in self.rows if row["coder"] == coder]
            means = {
                name: round(statistics.fmean(row[name] for row in rows), 4)
                for name in ("of_lzma", "of_lzma_time")
            }
            found.append({"coder": coder, "files": len(rows), **means})
        return found


def measure(
    report: CoderReport,
    files: Sequence[Samples],
    *,
    seconds: float,
    progress: Callable[[str], None],
) -> None:
    """Add to `report` what every coder makes of the samples, one payload for each, in one thread.

    seconds: for each coder and way, beside what verifying takes.  Raises RuntimeError if a coder
    does not give back what it was given, which is a bug.
    """
    for number, samples in enumerate(files, 1):
        report.files.append(samples.describe())
        lzma_name, lzma = unit(samples, report.skip)
        ours = _ours(samples, report.skip, progress)
        coders = {**ours, lzma_name: lzma, **peers(samples, report.skip)}
        for name, coder in coders.items():
            progress(f"{number} of {len(files)}, {samples.file}: {name}")
            row = {"file": samples.file, "coder": name, "bits": samples.bits}
            report.rows.append({**row, **_measured(name, coder, lzma, samples, seconds)})


def _measured(
    name: str, coder: Coder, lzma: Coder, samples: Samples, seconds: float
) -> dict[str, Any]:
    payloads = [coder.encode(sample) for sample in coder.samples]
    for payload, sample in zip(payloads, coder.samples):
        if bytes(coder.decode(payload)) != bytes(sample):
            raise RuntimeError(f"{name} does not give back what it was given")
    encode_ns, lzma_ns = median_ns([partial(_encode, coder), partial(_encode, lzma)], seconds)
    (decode_ns,) = median_ns([lambda: [coder.decode(one) for one in payloads]], seconds)
    count, elements = len(payloads), samples.indices[0].size
    size = sum(map(coder.length, payloads)) / count
    lzma_size = sum(map(lzma.length, _encode(lzma))) / count
    return {
        "payload_bytes_mean": round(size, 1),
        "bits_per_element": round(8 * size / elements, 4),
        "of_packed": round(size / len(samples.packed[0]), 4),
        "of_lzma": round(size / lzma_size, 4),
        "of_lzma_time": round(encode_ns / lzma_ns, 4),
        "encode_us": round(encode_ns / count / 1e3, 2),
        "decode_us": round(decode_ns / count / 1e3, 2),
        "model_bytes": coder.model_bytes,
        "round_trip": True,
    }


def _encode(coder: Coder) -> list[Any]:
    return [coder.encode(sample) for sample in coder.samples]


def _ours(samples: Samples, skip: Skip, progress: Callable[[str], None]) -> dict[str, Coder]:
    """The coders of this build: those that need no model, then those that have learned one."""
    plain = [name for name, there in sc.coders().items() if there and name not in NEED_MODEL]
    coders = {name: _one_of_ours(samples, name, None) for name in plain}
    if samples.calibration is None:
        skip("trained coders", f"{samples.file} has no calibration")
        return coders
    for name, model_of in _TRAINED.items():
        progress(f"{samples.file}: {name} learns")
        model = model_of(samples.calibration, samples.bits)
        coders[name] = _one_of_ours(samples, model.coder, model)
    return coders


def _one_of_ours(samples: Samples, coder: str, model: CoderModel | None) -> Coder:
    shape, bits = samples.indices.shape[1:], samples.bits
    restored = np.empty(shape, np.uint8)
    native = None if model is None else model.native

    def encode(sample: Array) -> tuple[bytes, int]:
        return core.coder_encode(CODERS[coder], shape, bits, sample, -1, native)

    def decode(coded: tuple[bytes, int]) -> Array:
        core.coder_decode(coded[1], shape, bits, coded[0], restored, -1, native)
        return restored

    return Coder(
        encode,
        decode,
        samples=list(samples.indices),
        length=lambda coded: len(coded[0]),
        model_bytes=0 if model is None else len(model.to_bytes()),
    )


_TRAINED: dict[str, Callable[[Array, int], CoderModel]] = {
    "range trained": sc.RangeModel.fit,
    "rans": sc.RansModel.fit,
    "context 4 kB": partial(sc.ContextModel.fit, budget_bytes=4096),
    "context 40 kB": partial(sc.ContextModel.fit, budget_bytes=40000),
}
