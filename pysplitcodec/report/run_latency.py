"""Latency of the rows of a report, on a device and over links of several rates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pysplitcodec.plan import Candidate, Cost, DeviceProfile, Link, evaluate
from pysplitcodec.report.run_schema import Row
from pysplitcodec.report.runs import coder_of

# bit/s, as in the TCL paper's Figures 3-5
RATES = (1_000_000, 2_000_000, 5_000_000, 10_000_000)


@dataclass(frozen=True)
class Latencies:
    """The latency of TCL, Eq. 12, for rows: until the server has what it needs.

    Rows whose coder's speed on the device is not known count none for coding: that is so for
    JPEG, which makes what is sent as JPEG look sooner than it is.
    """

    device: DeviceProfile

    def of(self, row: Row, coder: str, rate: int) -> Cost:
        """That of a row whose features are sent with `coder`, at `rate` bit/s without overhead."""
        used = coder_of(row, coder)
        counted = used is not None and used in self.device.encode_ns_per_element
        one = Candidate(
            row["split"] or row["method"],
            row["head"]["macs"],
            0,
            elements=math.prod(row["feature_shape"] or [0]),
            coder=used if counted else None,
            payload_bytes=row["bytes"][used]["mean"] if used is not None else 0,
        )
        return evaluate(one, self.device, Link(f"{rate} bit/s", bits_per_s=rate))

    def uncounted(self, rows: Iterable[Row], coder: str) -> list[str]:
        """The coders of rows whose time is not counted."""
        used = dict.fromkeys(coder_of(row, coder) for row in rows)
        known = self.device.encode_ns_per_element
        return [name for name in used if name is not None and name not in known]
