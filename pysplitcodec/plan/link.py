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
    sources: where each figure is from, by its name.  Raises ArgumentError for rates and packets
    that are not above 0, negative times, and overhead without packets.

    >>> Link("mine", bits_per_s=1e6).seconds(2_400)
    0.0192
    """

    name: str
    bits_per_s: float
    description: str = ""
    latency_s: float = 0.0
    packet_payload_bytes: int | None = None
    packet_overhead_bytes: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ArgumentError on what no link has."""
        where = f"link {self.name}"
        check_positive(where, bits_per_s=self.bits_per_s)
        check_count(
            where, latency_s=self.latency_s, packet_overhead_bytes=self.packet_overhead_bytes
        )
        if self.packet_payload_bytes is not None:
            check_positive(where, packet_payload_bytes=self.packet_payload_bytes)
        elif self.packet_overhead_bytes:
            raise ArgumentError(
                f"{where}: packet_overhead_bytes is {self.packet_overhead_bytes}: expected "
                "packet_payload_bytes beside it"
            )

    def bytes_sent(self, payload_bytes: float) -> float:
        """The payload and the overhead of its packets; the last packet may be part full."""
        check_count(f"link {self.name}", payload_bytes=payload_bytes)
        if self.packet_payload_bytes is None:
            return payload_bytes
        packets = math.ceil(payload_bytes / self.packet_payload_bytes)
        return payload_bytes + packets * self.packet_overhead_bytes

    def seconds(self, payload_bytes: float) -> float:
        """Seconds until the last bit of a payload is sent.

        payload_bytes: of one payload, or the mean of several.
        """
        return self.latency_s + 8 * self.bytes_sent(payload_bytes) / self.bits_per_s

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
