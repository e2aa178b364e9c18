"""Links from a device to the server, in bits a second."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pysplitcodec.errors import ArgumentError
from pysplitcodec.plan.tables import (
    check_count,
    check_keys,
    check_positive,
    check_sources,
    named,
    read_tables,
)


@dataclass(frozen=True)
class Link:
    """What sending costs in time.

    bits_per_s: of payload and overhead together.  latency_s: until the first bit leaves.
    packet_payload_bytes: what one packet carries at most; None: no packets.
    packet_overhead_bytes: headers, trailers and gaps of each packet, as bytes at `bits_per_s`.
    packet_interval_s: the pause between packets.  loss: share of packets that are lost, and sent
    again until they arrive.  transmit_power_w: the device's, while it sends; None: not known.
    sources: where each figure is from, by its name.  Raises ArgumentError for rates, packets and
    powers that are not above 0, negative times, a loss of 1, and figures of packets without any.

    >>> Link("mine", bits_per_s=1e6).seconds(2_400)
    0.0192
    """

    name: str
    bits_per_s: float
    description: str = ""
    latency_s: float = 0.0
    packet_payload_bytes: int | None = None
    packet_overhead_bytes: int = 0
    packet_interval_s: float = 0.0
    loss: float = 0.0
    transmit_power_w: float | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no link has."""
        where = f"link {self.name}"
        check_positive(where, bits_per_s=self.bits_per_s)
        of_packets = ("packet_overhead_bytes", "packet_interval_s", "loss")
        figures = {name: getattr(self, name) for name in of_packets}
        check_count(where, latency_s=self.latency_s, **figures)
        if not self.loss < 1:
            raise ArgumentError(f"{where}: loss is {self.loss}: expected 0 to below 1")
        if self.transmit_power_w is not None:
            check_positive(where, transmit_power_w=self.transmit_power_w)
        if self.packet_payload_bytes is not None:
            check_positive(where, packet_payload_bytes=self.packet_payload_bytes)
            return
        for name, value in figures.items():
            if value:
                raise ArgumentError(
                    f"{where}: {name} is {value}: expected packet_payload_bytes beside it"
                )

    def packets(self, payload_bytes: float) -> int:
        """Packets that a payload fills, the last one in part; 0 if the link has none."""
        check_count(f"link {self.name}", payload_bytes=payload_bytes)
        if self.packet_payload_bytes is None:
            return 0
        return math.ceil(payload_bytes / self.packet_payload_bytes)

    def bytes_sent(self, payload_bytes: float) -> float:
        """The payload and the overhead of its packets, as often as they are sent on average."""
        overhead = self.packets(payload_bytes) * self.packet_overhead_bytes
        return (payload_bytes + overhead) / (1 - self.loss)

    def airtime_s(self, payload_bytes: float) -> float:
        """Seconds in which the device sends."""
        return 8 * self.bytes_sent(payload_bytes) / self.bits_per_s

    def pauses_s(self, payload_bytes: float) -> float:
        """Seconds between the packets of a payload, those that are sent again included."""
        return max(self.packets(payload_bytes) / (1 - self.loss) - 1, 0) * self.packet_interval_s

    def seconds(self, payload_bytes: float) -> float:
        """Seconds until the last bit of a payload is sent.

        payload_bytes: of one payload, or the mean of several.
        """
        return self.latency_s + self.airtime_s(payload_bytes) + self.pauses_s(payload_bytes)

    @classmethod
    def from_dict(cls, name: str, table: Mapping[str, Any]) -> Link:
        """Make one of its table in a TOML file; every figure must have a source.

        Raises ArgumentError.
        """
        where = f"link {name}"
        known = [one.name for one in fields(cls) if one.name != "name"]
        check_keys(where, table, needed=("bits_per_s", "sources"), known=known)
        check_sources(where, table)
        return cls(name, **table)


def load_links(path: str | os.PathLike[str] | None = None) -> dict[str, Link]:
    """Return the links of a TOML file by name; those that are shipped if path is None.

    Raises ArgumentError if a link is not sound, OSError if the file cannot be read.
    """
    tables = read_tables(path, "links.toml")
    return {name: Link.from_dict(name, table) for name, table in tables.items()}


def get_link(name: str) -> Link:
    """Return the shipped link of that name; ArgumentError lists those there are."""
    return named(load_links(), "link", name)


def shannon_bits_per_s(
    bandwidth_hz: float, transmit_power_w: float, gain: float, noise_w: float
) -> float:
    """The capacity of a channel, B log2(1 + pi g / sigma) (QPART, Eq. 12 and 13).

    gain: the share of the power that arrives, large-scale times small-scale (Eq. 11); under
    Rayleigh fading the latter is exponentially distributed with a mean of 1.  Raises ArgumentError
    for figures that are not above 0.

    >>> shannon_bits_per_s(1e6, transmit_power_w=1.0, gain=3e-9, noise_w=1e-9)
    2000000.0
    """
    check_positive(
        "channel",
        bandwidth_hz=bandwidth_hz,
        transmit_power_w=transmit_power_w,
        gain=gain,
        noise_w=noise_w,
    )
    return bandwidth_hz * math.log2(1 + transmit_power_w * gain / noise_w)
