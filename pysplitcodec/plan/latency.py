"""The latency of a split model on the device's side: TCL, Eq. 12."""

from __future__ import annotations

from dataclasses import dataclass

from pysplitcodec.plan.device import DeviceProfile
from pysplitcodec.plan.link import Link


@dataclass(frozen=True)
class Latency:
    """Seconds from the input to the last bit sent: head, quantising and coding, and the link."""

    compute_s: float
    codec_s: float
    link_s: float

    @property
    def total_s(self) -> float:
        """All three, one after another."""
        return self.compute_s + self.codec_s + self.link_s


def latency(
    device: DeviceProfile,
    link: Link,
    *,
    macs: float,
    elements: float,
    coder: str,
    payload_bytes: float,
) -> Latency:
    """Return what one input takes up to the server: L = L_comp + L_QC + L_comm (TCL, Eq. 12).

    Eq. 12 as printed sums over split points; there is one cut, so nothing is summed.  The server
    and the way back are not counted.

    macs: multiply-accumulates of the head, with its bottleneck.  elements: of the feature.
    payload_bytes: what is sent of it, or the mean of that.  Raises ArgumentError for negative
    numbers, and for a device of which a figure that is needed is not known.

    >>> from pysplitcodec.plan import DeviceProfile, Link
    >>> device = DeviceProfile("d", macs_per_s=1e9, encode_ns_per_element={"lzma": 100.0})
    >>> cost = latency(device, Link("l", bits_per_s=1e6), macs=2e7, elements=1e4, coder="lzma",
    ...                payload_bytes=1_000)
    >>> cost, round(cost.total_s, 6)
    (Latency(compute_s=0.02, codec_s=0.001, link_s=0.008), 0.029)
    """
    return Latency(
        device.compute_s(macs), device.codec_s(elements, coder), link.seconds(payload_bytes)
    )
