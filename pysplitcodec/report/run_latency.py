"""Latency of the rows of a report, on a device and over links of several rates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pysplitcodec.plan import DeviceProfile, Latency, Link
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

    def of(self, row: Row, coder: str, rate: int) -> Latency:
        """That of a row whose features are sent with `coder`, at `rate` bit/s without overhead."""
        used = coder_of(row, coder)
        elements = math.prod(row["feature_shape"] or [0])
        compute_s = self.device.compute_s(row["head"]["macs"])
        if used is None:
            return Latency(compute_s, 0.0, 0.0)
        counted = used in self.device.encode_ns_per_element
        return Latency(
            compute_s,
            self.device.codec_s(elements, used) if counted else 0.0,
            Link(f"{rate} bit/s", bits_per_s=rate).seconds(row["bytes"][used]["mean"]),
        )

    def uncounted(self, rows: Iterable[Row], coder: str) -> list[str]:
        """The coders of rows whose time is not counted."""
        used = dict.fromkeys(coder_of(row, coder) for row in rows)
        known = self.device.encode_ns_per_element
        return [name for name in used if name is not None and name not in known]
