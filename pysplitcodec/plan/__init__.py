"""What sharing a model between device and server costs, and what to choose: docs/planning.md.

>>> stem = Candidate(
...     "layer1", head_macs=118_000_000, tail_macs=0, elements=12_544, coder="lzma",
...     payload_bytes=2_400,
... )
>>> cost = evaluate(stem, get_device("raspberry-pi-4"), get_link("1-mbit"))
>>> f"{cost.link_s * 1e3:.1f} ms on the link"
'19.2 ms on the link'

Importing this package imports numpy alone.
"""

from __future__ import annotations

from pysplitcodec.plan.channel import Channel, Fading
from pysplitcodec.plan.cost import Candidate, Cost, evaluate
from pysplitcodec.plan.device import (
    DeviceProfile,
    ModelTime,
    get_device,
    load_devices,
    save_devices,
)
from pysplitcodec.plan.link import Link, get_link, load_links, shannon_bits_per_s
from pysplitcodec.plan.search import (
    Choice,
    Limits,
    Span,
    Weights,
    best,
    break_even,
    choices,
    pareto,
)
from pysplitcodec.plan.trace import Trace

__all__ = [
    "Candidate",
    "Channel",
    "Choice",
    "Cost",
    "DeviceProfile",
    "Fading",
    "Limits",
    "Link",
    "ModelTime",
    "Span",
    "Trace",
    "Weights",
    "best",
    "break_even",
    "choices",
    "evaluate",
    "get_device",
    "get_link",
    "load_devices",
    "load_links",
    "pareto",
    "save_devices",
    "shannon_bits_per_s",
]
