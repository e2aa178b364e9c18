"""What running a model's head on a device and sending its feature costs: docs/latency.md.

>>> cost = latency(
...     get_device("raspberry-pi-4"), get_link("1-mbit"),
...     macs=118_000_000, elements=12_544, coder="lzma", payload_bytes=2_400,
... )
>>> f"{cost.link_s * 1e3:.1f} ms on the link"
'19.2 ms on the link'

Importing this package imports numpy alone.
"""

from __future__ import annotations

from pysplitcodec.plan.device import (
    DeviceProfile,
    ModelTime,
    get_device,
    load_devices,
    save_devices,
)
from pysplitcodec.plan.latency import Latency, latency
from pysplitcodec.plan.link import Link, get_link, load_links

__all__ = [
    "DeviceProfile",
    "Latency",
    "Link",
    "ModelTime",
    "get_device",
    "get_link",
    "latency",
    "load_devices",
    "load_links",
    "save_devices",
]
